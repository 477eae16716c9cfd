"""How full the rows of whole examples are, and how fast they are read.

  python scripts/benchmarks/packing.py gsm8k.train.jsonl.gz:question,answer \\
    e2e_nlg.devset.csv.gz:mr,ref --sentencepiece=NAME.model

For each set of inputs and targets, vocabulary and length of rows: the share of
positions that hold a token, beside that of filling row after row in the order
of the file, and the examples left out because they are longer than a row.
"""

import argparse
import tempfile
import time

import numpy as np

from tpu_lm.data.corpus import Corpus
from tpu_lm.data.examples.pair import Pair
from tpu_lm.data.layout import Layout
from tpu_lm.data.packed import PackedRows
from tpu_lm.data.sources.files import Files
from tpu_lm.data.vocabularies.bytes import Bytes
from tpu_lm.data.vocabularies.sentence_piece import SentencePiece

LENGTHS = (512, 1024, 2048)
BATCH = 64


def main() -> None:
  """Prints one line for each set, vocabulary and length."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('sets', nargs='+', metavar='FILE:INPUTS,TARGETS')
  parser.add_argument('--sentencepiece', help='a model to use beside bytes')
  options = parser.parse_args()
  vocabularies = {'bytes': Bytes()}
  if options.sentencepiece:
    vocabularies['SentencePiece'] = SentencePiece(options.sentencepiece)
  for one in options.sets:
    path, _, fields = one.partition(':')
    inputs, targets = fields.split(',')
    for name, vocabulary in vocabularies.items():
      with tempfile.TemporaryDirectory() as folder:
        files = Files(
          name='pairs',
          path=path,
          validation_path=path,  # all of it is to be packed
          example=Pair(inputs=inputs, targets=targets),
        )
        corpus = Corpus(files=(files,), vocabulary=vocabulary, store_dir=folder)
        report(f'{path} {name}', corpus.open('pairs', 'train'))


def report(title: str, store) -> None:
  """Prints the figures of one store."""
  sizes = np.diff(store.offsets) - 1
  for length in LENGTHS:
    rows = PackedRows(store, Layout(length), 0, 'pairs')
    left_out = rows.left_out / len(sizes)
    start = time.process_time()
    positions = 0
    for first in range(0, min(rows.rows_per_epoch, 50 * BATCH), BATCH):
      batch = rows.read(np.arange(first, first + BATCH))
      positions += batch['inputs'].size
    speed = positions / (time.process_time() - start) / 1e6
    print(
      f'{title} {length}: {rows.fill:.1%} of positions used,'
      f' {in_order(sizes, length):.1%} in order of the file; {left_out:.1%} of'
      f' {len(sizes):,} left out; {speed:.0f} M positions a CPU second'
    )


def in_order(sizes: np.ndarray, length: int) -> float:
  """Share of positions used when rows are filled as the documents come."""
  rows, held = 1, 0
  fitting = sizes[sizes <= length].tolist()
  for size in fitting:
    if held + size > length:
      rows, held = rows + 1, 0
    held += size
  return sum(fitting) / rows / length


if __name__ == '__main__':
  main()
