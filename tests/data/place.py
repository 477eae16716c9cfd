"""A folder with data, code that registers tasks of them, and stores."""

import importlib
import sys
from pathlib import Path

from tpu_lm.data import registry
from tpu_lm.data.corpus import Corpus

# Registers a task of files, one of a function, one that has no files and one
# of three features; `mark`, `extra` and `end` are what tests change.
MODULE = """
import seqio
import tensorflow as tf
from my_corpus import words

FOLDER = {folder!r}

@seqio.map_over_dataset
def to_targets(line):
  return {{'targets': words.marked(line)}}

def numbers(split, shuffle_files):
  return tf.data.Dataset.from_tensor_slices(['one', 'two {mark}'])

def listed(split, shuffle_files):
  return numbers(split, shuffle_files)

listed.source_files = [FOLDER + '/*.list']

def add(name, source, features=('targets',)):
  vocabulary = seqio.ByteVocabulary(extra_ids={extra})
  seqio.TaskRegistry.add(
    name,
    source=source,
    output_features={{f: seqio.Feature(vocabulary) for f in features}},
    preprocessors=[
      to_targets, seqio.preprocessors.tokenize, seqio.preprocessors.append_eos
    ],
  )

add('lines', seqio.TextLineDataSource({{'train': FOLDER + '/*.text'}}))
add('numbers', seqio.FunctionDataSource(numbers, splits=['train']))
add('listed', seqio.FunctionDataSource(listed, splits=['train']))
THREE = ('context', 'inputs', 'targets')
add('three', seqio.FunctionDataSource(numbers, splits=['train']), THREE)
seqio.MixtureRegistry.add('inner', [('lines', 1), ('numbers', 3)])
seqio.MixtureRegistry.add('outer', [('inner', 2), ('listed', 2)])
"""
WORDS = """
def marked(line):
  return line + '{end}'
"""
TASKS = ['lines', 'numbers', 'listed', 'three']


class Place:
  """A folder with data, code that registers tasks of it, and stores."""

  def __init__(self, root: Path):
    self.root = root
    self.data = root / 'data'
    self.code = root / 'code' / 'my_corpus'
    self.data.mkdir()
    self.code.mkdir(parents=True)
    (self.code / '__init__.py').write_text('')
    (self.data / 'a.text').write_text('alpha\nbeta\n')
    (self.data / 'b.list').write_text('')
    self.write_code()

  def write_code(self, mark='', extra=0, end='.'):
    text = MODULE.format(folder=str(self.data), mark=mark, extra=extra)
    (self.code / 'tasks.py').write_text(text)
    (self.code / 'words.py').write_text(WORDS.format(end=end))
    self.forget()

  def forget(self):
    """Makes this process one that has not imported the code yet."""
    seqio = registry.load_seqio()
    for name in [name for name in sys.modules if name.startswith('my_corpus')]:
      del sys.modules[name]
    for name in TASKS:
      seqio.TaskRegistry.remove(name)
    for name in ('inner', 'outer'):
      seqio.MixtureRegistry.remove(name)
    registry._imported.cache_clear()
    importlib.invalidate_caches()

  def corpus(self, **fields):
    modules = fields.pop('modules', ('my_corpus.tasks',))
    return Corpus(modules, store_dir=str(self.root / 'stores'), **fields)

  def text(self, task='lines'):
    """Opens a store and decodes it; '|' stands for the end token."""
    store = self.corpus().open(task, 'train')
    tokens = store.tokens(0, store.num_tokens).tolist()
    return ''.join(chr(t - 3) if t > 2 else '|' for t in tokens)

  def directories(self, task='lines'):
    found = (self.root / 'stores' / task).glob('train-*/manifest.json')
    return sorted(path.parent.name for path in found)
