"""Stores that build themselves, and notice what has changed."""

import json
import shutil
import sys

import pytest

from tests.data.helpers import tiny_store
from tests.data.place import Place
from tpu_lm.checks import UserError
from tpu_lm.data import registry
from tpu_lm.data.corpus import Corpus


@pytest.fixture
def place(tmp_path, monkeypatch):
  # A cached .pyc of the same second and size would hide an edit.
  monkeypatch.setattr(sys, 'dont_write_bytecode', True)
  monkeypatch.syspath_prepend(str(tmp_path / 'code'))
  made = Place(tmp_path)
  yield made
  made.forget()


def test_builds_once_then_reads(place, capsys):
  assert place.text() == 'alpha.|beta.|'
  assert (
    'lines/train: done, 13 tokens in 2 documents' in capsys.readouterr().err
  )
  place.forget()
  assert place.text() == 'alpha.|beta.|'
  assert capsys.readouterr().err == ''
  assert len(place.directories()) == 1


@pytest.mark.parametrize(
  ('change', 'reason', 'text'),
  [
    (
      lambda p: (p.data / 'a.text').write_text('gamma\n'),
      'a.text has changed',
      'gamma.|',
    ),
    (
      lambda p: (p.data / 'b.text').write_text('gamma\n'),
      'b.text is new',
      'alpha.|gamma.|beta.|',
    ),
    (
      lambda p: (p.data / 'a.text').rename(p.data / 'c.text'),
      'a.text is gone',
      'alpha.|beta.|',
    ),
    (
      lambda p: p.write_code(mark='!'),
      'tasks.py has changed',
      'alpha.|beta.|',
    ),
    (
      lambda p: p.write_code(end='?'),
      'words.py has changed',
      'alpha?|beta?|',
    ),
    (
      lambda p: p.write_code(extra=9),
      'tasks.py has changed',
      'alpha.|beta.|',
    ),
  ],
)
def test_a_change_makes_a_new_store(place, capsys, change, reason, text):
  assert place.text() == 'alpha.|beta.|'
  change(place)
  place.forget()
  capsys.readouterr()
  assert sorted(place.text()) == sorted(text)
  told = capsys.readouterr().err
  assert 'lines/train is built anew: ' in told
  assert reason in told
  assert len(place.directories()) == 2  # the old one stays


def test_the_vocabulary_is_part_of_the_fingerprint(place):
  one = place.corpus().open('lines', 'train')
  place.write_code(extra=9)
  other = place.corpus().open('lines', 'train')
  assert (one.vocabulary_size, other.vocabulary_size) == (259, 268)
  assert one.fingerprint != other.fingerprint
  # A changed file that changes no token leaves the content what it was.
  place.write_code(extra=9, mark='!')
  third = place.corpus().open('lines', 'train')
  assert third.fingerprint == other.fingerprint


def test_a_sentencepiece_model_is_compared(place):
  sentencepiece = pytest.importorskip('sentencepiece')
  model = place.root / 'words.model'

  def train(text):
    with model.open('wb') as file:
      sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text] * 20),
        model_writer=file,
        vocab_size=20,
        hard_vocab_limit=False,
        minloglevel=2,
      )

  train('alpha beta gamma')
  path = place.code / 'tasks.py'
  text = path.read_text().replace(
    'seqio.ByteVocabulary(extra_ids=0)',
    f'seqio.SentencePieceVocabulary({str(model)!r})',
  )
  path.write_text(text)
  first = place.corpus().open('lines', 'train').fingerprint
  assert place.corpus().open('lines', 'train').fingerprint == first
  train('a longer text of other words')
  place.forget()
  assert place.corpus().open('lines', 'train').fingerprint != first


def test_a_function_says_which_files_it_reads(place, capsys):
  place.text('listed')
  place.text('numbers')
  capsys.readouterr()
  (place.data / 'b.list').write_text('changed')
  place.forget()
  place.text('listed')
  place.text('numbers')  # its files are unknown: only code is compared
  told = capsys.readouterr().err
  assert 'listed/train is built anew' in told
  assert 'numbers/train' not in told


def test_a_store_carried_away_from_its_data_is_used(place, capsys):
  place.text()
  shutil.rmtree(place.data)
  shutil.rmtree(place.code)
  place.forget()
  capsys.readouterr()
  assert place.text() == 'alpha.|beta.|'
  told = capsys.readouterr().err.strip()
  assert told.startswith('lines/train: not compared with what it was built')
  assert len(told.splitlines()) == 1


def test_code_edited_under_a_running_process_is_told(place):
  place.text()
  tasks = place.code / 'tasks.py'
  tasks.write_text(tasks.read_text() + '# edited\n')
  with pytest.raises(UserError, match=r'tasks.py was edited after it was'):
    place.text()


def test_a_task_registered_by_hand_is_compared_with_itself(place):
  def in_a_notebook(words):
    def numbers(split, shuffle_files):
      return tf.data.Dataset.from_tensor_slices({'targets': words})

    seqio.TaskRegistry.remove('numbers')
    seqio.TaskRegistry.add(
      'numbers',
      source=seqio.FunctionDataSource(numbers, splits=['train']),
      output_features={'targets': seqio.Feature(seqio.ByteVocabulary())},
      preprocessors=[seqio.preprocessors.tokenize],
    )
    store = place.corpus(modules=()).open('numbers', 'train')
    return store.num_tokens

  seqio = registry.load_seqio()
  import tensorflow as tf

  assert in_a_notebook(['four']) == 4
  assert in_a_notebook(['four']) == 4
  assert len(place.directories('numbers')) == 1
  assert in_a_notebook(['seventeen']) == 9


def test_a_mixture_registered_by_hand_is_asked_itself(place):
  seqio = registry.load_seqio()
  corpus = place.corpus()
  assert corpus.expand('inner') == {'lines': 1, 'numbers': 3}
  seqio.MixtureRegistry.remove('inner')
  seqio.MixtureRegistry.add('inner', [('lines', 5)])
  assert corpus.expand('inner') == {'lines': 5}


def test_expands_mixtures_and_remembers(place, monkeypatch):
  corpus = place.corpus()
  expected = {'lines': 0.5, 'numbers': 1.5, 'listed': 2}
  assert corpus.expand('outer') == expected
  assert corpus.expand('lines') == {'lines': 1}
  # From here on seqio would not be found.
  place.forget()
  monkeypatch.setitem(sys.modules, 'seqio', None)
  assert corpus.expand('outer') == expected
  assert corpus.expand('lines') == {'lines': 1}
  tiny_store(place.root / 'stores', 'by_hand', ['text'])
  assert corpus.expand('by_hand') == {'by_hand': 1}
  tasks = place.code / 'tasks.py'
  tasks.write_text(tasks.read_text().replace("('inner', 2)", "('inner', 4)"))
  with pytest.raises(UserError, match='seqio is not installed'):
    corpus.expand('outer')
  monkeypatch.undo()
  sys.path.insert(0, str(place.code.parent))
  assert place.corpus().expand('outer')['numbers'] == 3
  sys.path.pop(0)


def test_unknown_names_are_told(place):
  corpus = place.corpus()
  with pytest.raises(UserError, match=r"'linse' is neither.*mean: lines"):
    corpus.open('linse', 'train')
  with pytest.raises(UserError, match=r"'outr' is neither.*mean: outer"):
    corpus.expand('outr')
  with pytest.raises(UserError, match="lines has no split 'test'"):
    corpus.open('lines', 'test')
  with pytest.raises(UserError, match='outer is a mixture'):
    corpus.open('outer', 'train')
  with pytest.raises(UserError, match=r"features \['context', 'inputs'"):
    corpus.open('three', 'train')
  with pytest.raises(UserError, match="no module 'my_corpus"):
    place.corpus(modules=('my_corpus.none',)).open('lines2', 'train')


def test_a_store_of_modules_not_named_is_not_used(place):
  place.text()
  place.forget()
  with pytest.raises(UserError, match=r'modules \(none\) register'):
    place.corpus(modules=()).open('lines', 'train')


def test_the_manifest_can_be_read_by_people(place):
  place.text()
  folder = place.root / 'stores/lines' / place.directories()[0]
  manifest = json.loads((folder / 'manifest.json').read_text())
  assert manifest['task'] == 'lines'
  assert manifest['vocabulary']['description'].endswith('259 tokens')
  recorded = json.loads((folder / 'dependencies.json').read_text())
  assert recorded['definition']['modules'] == ['my_corpus.tasks']
  assert set(recorded['code']) == {'my_corpus.tasks', 'my_corpus.words'}
  assert list(recorded['files']) == [str(place.data / 'a.text')]
  assert set(recorded['packages']) == {'seqio'}


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'modules': 'one'}, "Corpus.modules = 'one'"),
    ({'files': ('a',)}, 'must be a tuple of Files'),
    ({'seqio_cache_dirs': 'a'}, 'must be a tuple of folders'),
    ({'vocabulary': 'bytes'}, 'must be a vocabulary'),
    ({'contamination': 'e2e'}, 'must be a Contamination'),
    ({'store_dir': ''}, 'Corpus.store_dir'),
  ],
)
def test_wrong_fields_are_told(fields, message):
  with pytest.raises(UserError, match=message):
    Corpus(**fields)
