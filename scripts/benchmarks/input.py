"""Times this project's data path against seqio's own, on the same mixture.

  python scripts/benchmarks/input.py --work_dir=/tmp/input

The text is that of the quickstart (installed_text), dealt out to N sources of
equal weight, read as rows of 512 tokens in batches of 64. Every measurement is
a process of its own, and the kinds take turns:

  tpu_lm      rows of token stores by the mixing rule
  seqio       tasks over TFRecords: tokenised on the way, documents joined and
              cut into rows, shuffled, sampled by a mixture
  tokenised   the same with the tokenising done before, as of a seqio cache

Speed is tokens by CPU second of the whole process, all threads together:
tokens per second per core. Memory is the peak of the process. The time to the
first batch runs from the start of the interpreter; the stores exist. With 35
sources only this project's path is measured: tf.data's fills 35 buffers first.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

from tpu_lm.data.layout import Layout

BATCH, LENGTH = 64, 512
KINDS = ('tpu_lm', 'seqio', 'tokenised')


def main() -> None:
  """Prepares the data, lets the kinds take turns, prints the ratios."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--work_dir', type=pathlib.Path, required=True)
  parser.add_argument('--vocabulary', choices=['bytes', 'sentencepiece'])
  parser.add_argument('--sources', type=int)
  parser.add_argument(
    '--batches', type=int, default=300, help='ten times as many of ours'
  )
  parser.add_argument('--repeats', type=int, default=5)
  parser.add_argument('--measure', choices=KINDS, help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.measure:
    print(json.dumps(measure(options)))
    return
  options.work_dir.mkdir(parents=True, exist_ok=True)
  for vocabulary, sources in [
    ('bytes', 3),
    ('sentencepiece', 3),
    ('sentencepiece', 35),
  ]:
    if options.vocabulary in (None, vocabulary) and options.sources in (
      None,
      sources,
    ):
      compare(options, vocabulary, sources)


def compare(options, vocabulary: str, sources: int) -> None:
  """Lets the kinds take turns on one mixture."""
  prepare(options.work_dir, vocabulary, sources)
  kinds = KINDS if sources == 3 else KINDS[:1]
  found = {kind: [] for kind in kinds}
  for _ in range(options.repeats):
    for kind in found:
      found[kind].append(rerun(options, kind, vocabulary, sources))
  print(f'\n{vocabulary}, {sources} sources, {options.repeats} turns')
  for kind, results in found.items():
    speed = [r['tokens'] / r['cpu_seconds'] / 1e6 for r in results]
    first = [r['first_batch_seconds'] for r in results]
    memory = [r['peak_megabytes'] for r in results]
    print(
      f'  {kind:10} {spread(speed)} M tokens a CPU second; first batch after'
      f' {spread(first)} s; peak {spread(memory)} MB;'
      f' TensorFlow {"" if results[0]["tensorflow"] else "not "}imported'
    )
  for other in kinds[1:]:
    ratios = [
      ours['tokens'] / ours['cpu_seconds'] * r['cpu_seconds'] / r['tokens']
      for ours, r in zip(found['tpu_lm'], found[other])
    ]
    print(f'  tpu_lm / {other}: {spread(ratios)}')


def spread(values: list[float]) -> str:
  """Median, lowest and highest."""
  return (
    f'{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})'
  )


def rerun(options, kind: str, vocabulary: str, sources: int) -> dict:
  """One measurement in a process of its own."""
  done = subprocess.run(
    [
      sys.executable,
      __file__,
      f'--measure={kind}',
      f'--vocabulary={vocabulary}',
      f'--sources={sources}',
      # Long enough that what tf.data reads ahead counts for little.
      f'--batches={options.batches * (10 if kind == "tpu_lm" else 1)}',
      f'--work_dir={options.work_dir}',
    ],
    env={**os.environ, 'STARTED': str(time.time())},
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    text=True,
    check=True,
  )
  return json.loads(done.stdout.splitlines()[-1])


def prepare(work_dir: pathlib.Path, vocabulary: str, sources: int) -> None:
  """Writes the texts, the vocabulary, the stores and the TFRecords, once."""
  from data_tasks.installed_text import texts
  from tpu_lm.data.vocabularies.train import train_sentence_piece

  lines = [
    text
    for kind in ('prose', 'python', 'headers')
    for text in texts(kind, 'train')
  ]
  model = work_dir / 'sentencepiece.model'
  if vocabulary == 'sentencepiece' and not model.exists():
    train_sentence_piece(lines, model.with_suffix(''), size=8000, kind='bpe')
  folder = work_dir / f'texts_{sources}'
  if not folder.exists():
    partial = work_dir / 'partial'
    partial.mkdir(exist_ok=True)
    for source in range(sources):
      with (partial / f'source_{source}.jsonl').open('w') as file:
        for text in lines[source::sources]:
          file.write(json.dumps({'text': text}) + '\n')
    partial.rename(folder)
  built = corpus(work_dir, vocabulary, sources)
  for source in range(sources):
    built.open(f'source_{source}', 'train')
  write_records(work_dir, vocabulary, sources)


def corpus(work_dir: pathlib.Path, vocabulary: str, sources: int):
  """The texts as this project reads them."""
  from tpu_lm.data.corpus import Corpus
  from tpu_lm.data.sources.files import Files

  return Corpus(
    files=tuple(
      Files(
        name=f'source_{source}',
        path=str(work_dir / f'texts_{sources}' / f'source_{source}.jsonl'),
        validation_path=str(work_dir / 'none.jsonl'),  # all is for training
      )
      for source in range(sources)
    ),
    vocabulary=make_vocabulary(work_dir, vocabulary),
    store_dir=str(work_dir / f'stores_{vocabulary}_{sources}'),
  )


def make_vocabulary(work_dir: pathlib.Path, vocabulary: str):
  """The vocabulary of both sides."""
  if vocabulary == 'bytes':
    from tpu_lm.data.vocabularies.bytes import Bytes

    return Bytes()
  from tpu_lm.data.vocabularies.sentence_piece import SentencePiece

  return SentencePiece(str(work_dir / 'sentencepiece.model'))


def write_records(work_dir: pathlib.Path, vocabulary: str, sources: int):
  """Writes each source as TFRecords: of text, and of tokens."""
  import numpy as np
  import tensorflow as tf

  encode = make_vocabulary(work_dir, vocabulary)
  for source in range(sources):
    text_file = work_dir / f'texts_{sources}' / f'source_{source}.jsonl'
    out = work_dir / f'records_{vocabulary}_{sources}_{source}'
    if pathlib.Path(f'{out}.tokens').exists():
      continue
    with (
      tf.io.TFRecordWriter(f'{out}.text') as texts,
      tf.io.TFRecordWriter(f'{out}.partial') as tokens,
    ):
      for line in text_file.read_text().split('\n')[:-1]:
        text = json.loads(line)['text']
        value = tf.train.BytesList(value=[text.encode()])
        texts.write(example(tf, tf.train.Feature(bytes_list=value)))
        numbers = np.append(encode.encode([text])[0], encode.end)
        value = tf.train.Int64List(value=numbers)
        tokens.write(example(tf, tf.train.Feature(int64_list=value)))
    pathlib.Path(f'{out}.partial').rename(f'{out}.tokens')


def example(tf, feature) -> bytes:
  """A record with one feature."""
  features = tf.train.Features(feature={'targets': feature})
  return tf.train.Example(features=features).SerializeToString()


def measure(options) -> dict:
  """Reads batches of one kind and says what that took."""
  kinds = {'tpu_lm': read_stores}
  read = kinds.get(options.measure, read_seqio)
  batches = read(options)
  next(batches)
  first = time.time() - float(os.environ['STARTED'])
  cpu = time.process_time()
  tokens = sum(next(batches)['targets'].size for _ in range(options.batches))
  return {
    'tokens': tokens,
    'cpu_seconds': time.process_time() - cpu,
    'first_batch_seconds': first,
    'peak_megabytes': peak_memory() / 1e6,
    'tensorflow': 'tensorflow' in sys.modules,
  }


def peak_memory() -> int:
  """The most memory that this process has held, in bytes.

  getrusage would count what its parent held when it was started.
  """
  status = pathlib.Path('/proc/self/status').read_text()
  return int(re.search(r'VmHWM:\s+(\d+) kB', status)[1]) * 1024


def read_stores(options):
  """Batches by this project."""
  from tpu_lm.data.batches import BatchBuilder
  from tpu_lm.data.ledger import Ledger
  from tpu_lm.data.mixing import Mixture

  names = [f'source_{source}' for source in range(options.sources)]
  ledger = Ledger(seed=0)
  builder = BatchBuilder(
    corpus(options.work_dir, options.vocabulary, options.sources),
    Mixture(weights=dict.fromkeys(names, 1.0)),
    BATCH,
    Layout(LENGTH),
    ledger,
  )
  step = 0
  while True:
    batch, ledger = builder.next(step, ledger)
    step += 1
    yield batch


def read_seqio(options):
  """Batches by seqio and tf.data: fixed rows, no packing of targets apart."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  import seqio
  import tensorflow as tf

  text = options.measure == 'seqio'
  vocabulary = seqio.ByteVocabulary(extra_ids=0)
  if options.vocabulary == 'sentencepiece':
    model = options.work_dir / 'sentencepiece.model'
    vocabulary = seqio.SentencePieceVocabulary(str(model))
  feature = (
    tf.io.FixedLenFeature([], tf.string)
    if text
    else tf.io.VarLenFeature(tf.int64)
  )

  def rows(dataset):
    # As T5 does it: documents joined in groups, cut into rows.
    return (
      dataset.map(lambda example: tf.cast(example['targets'], tf.int32))
      .ragged_batch(128)
      .map(lambda ragged: ragged.flat_values)
      .map(lambda flat: flat[: tf.size(flat) // (LENGTH + 1) * (LENGTH + 1)])
      .map(lambda flat: tf.reshape(flat, [-1, LENGTH + 1]))
      .unbatch()
      .map(lambda row: {'targets': row})
    )

  def dense(dataset):
    return dataset.map(
      lambda example: {'targets': tf.sparse.to_dense(example['targets'])}
    )

  tokenise = [seqio.preprocessors.tokenize, seqio.preprocessors.append_eos]
  name = f'records_{options.vocabulary}_{options.sources}'
  names = []
  for source in range(options.sources):
    suffix = 'text' if text else 'tokens'
    path = options.work_dir / f'{name}_{source}.{suffix}'
    names.append(f'source_{source}')
    seqio.TaskRegistry.add(
      names[-1],
      source=seqio.TFExampleDataSource(
        {'train': str(path)}, {'targets': feature}
      ),
      output_features={'targets': seqio.Feature(vocabulary)},
      preprocessors=[*(tokenise if text else [dense]), rows],
    )
  mixture = seqio.MixtureRegistry.add('mixture', names, default_rate=1.0)
  dataset = mixture.get_dataset(
    {'targets': LENGTH + 1}, 'train', shuffle=True, num_epochs=None, seed=0
  )
  dataset = dataset.batch(BATCH, drop_remainder=True).prefetch(2)
  for batch in dataset.as_numpy_iterator():
    yield {
      'targets': batch['targets'][:, 1:],
      'inputs': batch['targets'][:, :-1],
    }


if __name__ == '__main__':
  main()
