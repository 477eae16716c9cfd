"""Times every noiser on real text: tokens per second on one core.

  python scripts/benchmarks/noise.py --length=512 --rows=256 --seconds=1

The text is that of the quickstart (installed_text), in bytes and in the tokens
of a SentencePiece vocabulary that is trained on it first (some seconds). Rows
are cut from documents end to end, as training reads them. Each noiser is given
the same batches, over and over for so many seconds, `--repeats` times; a speed
is the median of these, with the slowest and the fastest. Seconds are those of
the processor, so other programs that run meanwhile count for little.

Fill is how much of the room that `sizes` or `size` asks for is used on average
(inputs / targets), and for noisers that hide tokens, which part is hidden.
"""

import argparse
import itertools
import os
import pathlib
import statistics
import tempfile
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from data_tasks.installed_text import texts
from tpu_lm.data.noise.bart import (
  Bart,
  TextInfilling,
  TokenDeletion,
  TokenMasking,
)
from tpu_lm.data.noise.base import MaskNoiser, Noiser, PairNoiser
from tpu_lm.data.noise.code_switch import CodeSwitch
from tpu_lm.data.noise.entities import Entities
from tpu_lm.data.noise.fill_in_the_middle import FillInTheMiddle
from tpu_lm.data.noise.masked_lm import MaskedLM
from tpu_lm.data.noise.mass import Mass
from tpu_lm.data.noise.prefix import Prefix
from tpu_lm.data.noise.sentences import DocumentRotation, SentencePermutation
from tpu_lm.data.noise.span_corruption import SpanCorruption
from tpu_lm.data.noise.ul2 import UL2, UL2R
from tpu_lm.data.noise.units import GeometricSpans, Spans, WholeWords
from tpu_lm.data.special_tokens import Special
from tpu_lm.data.vocabularies import Vocabulary
from tpu_lm.data.vocabularies.bytes import Bytes
from tpu_lm.data.vocabularies.train import train_sentence_piece

BATCHES = 8  # different ones, more text than a processor's cache holds
WORDS = 5000  # of the lexicon, the most frequent ones


def noisers(lexicon: str) -> dict[str, Noiser]:
  """What is timed, by name."""
  return {
    'span corruption': SpanCorruption(),
    'span corruption, 50 %': SpanCorruption(0.5, 3.0),
    'prefix': Prefix(),
    'UL2': UL2(),
    'UL2R': UL2R(),
    'MASS': Mass(),
    'token masking': TokenMasking(),
    'token deletion': TokenDeletion(),
    'text infilling': TextInfilling(),
    'sentence permutation': SentencePermutation(),
    'document rotation': DocumentRotation(),
    'BART': Bart((SentencePermutation(), TextInfilling())),
    f'code switch, {WORDS:,} words': CodeSwitch(lexicon),
    'masked LM, tokens': MaskedLM(),
    'masked LM, whole words': MaskedLM(units=WholeWords()),
    'masked LM, spans': MaskedLM(units=Spans()),
    'masked LM, geometric spans': MaskedLM(units=GeometricSpans()),
    'masked LM, entities by rule': MaskedLM(units=Entities()),
    f'masked LM, {WORDS:,} entities': MaskedLM(units=Entities((), lexicon)),
    'fill in the middle': FillInTheMiddle(),
  }


def main() -> None:
  """Times all noisers with both vocabularies."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--length', type=int, default=512)
  parser.add_argument('--rows', type=int, default=256)
  parser.add_argument('--seconds', type=float, default=1.0)
  parser.add_argument('--repeats', type=int, default=5)
  parser.add_argument('--only', default='', help='part of a name')
  options = parser.parse_args()
  os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
  lines = [
    text for kind in ('prose', 'python') for text in texts(kind, 'train')
  ]
  with tempfile.TemporaryDirectory() as folder:
    lexicon = pathlib.Path(folder, 'lexicon.txt')
    lexicon.write_text(make_lexicon(lines))
    trained = train_sentence_piece(
      lines, f'{folder}/pieces', 8000, 'bpe', sample_bytes=2_000_000
    )
    for name, vocabulary in [('bytes', Bytes()), ('SentencePiece', trained)]:
      compare(options, name, vocabulary, lines, str(lexicon))


def compare(
  options: argparse.Namespace,
  title: str,
  vocabulary: Vocabulary,
  lines: list[str],
  lexicon: str,
) -> None:
  """Prints a table for one vocabulary."""
  size = (options.rows, options.length)
  batches, special = make_batches(vocabulary, lines, *size)
  table = Table(
    title=f'{title}, {size[0]} rows of {size[1]} tokens, one core',
    title_justify='left',
  )
  table.add_column('noiser', no_wrap=True)
  for column in ('M tokens/s', 'slowest', 'fastest', 'fill, %'):
    table.add_column(column, justify='right')
  for name, noiser in noisers(lexicon).items():
    if options.only not in name:
      continue
    fill = np.mean([filled(noiser, *batch, special) for batch in batches], 0)
    speeds = [
      speed(noiser, batches, special, options.seconds)
      for _ in range(options.repeats)
    ]
    values = statistics.median(speeds), min(speeds), max(speeds)
    table.add_row(
      name,
      *(f'{value / 1e6:.1f}' for value in values),
      ' / '.join(f'{100 * part:.1f}' for part in fill),
    )
  Console().print(table)


def make_lexicon(lines: list[str]) -> str:
  """The most frequent words, each with itself backwards."""
  counts: dict[str, int] = {}
  for word in itertools.chain.from_iterable(line.split() for line in lines):
    if word.isalpha():
      counts[word] = counts.get(word, 0) + 1
  frequent = sorted(counts, key=counts.get, reverse=True)[:WORDS]
  return ''.join(f'{word}\t{word[::-1]}\n' for word in frequent)


def make_batches(
  vocabulary: Vocabulary, lines: list[str], rows: int, length: int
) -> tuple[list[tuple[np.ndarray, ...]], Special]:
  """Batches of tokens, segments and keys; and the special tokens."""
  needed = BATCHES * rows * length
  held, documents = 0, []
  for line in itertools.cycle(lines):
    tokens = np.append(vocabulary.encode([line])[0], vocabulary.end)
    documents.append(tokens.astype(np.int32))
    held += len(tokens)
    if held >= needed:
      break
  tokens = np.concatenate(documents)[:needed].reshape(BATCHES, rows, length)
  closed = np.cumsum(tokens == vocabulary.end, axis=2)
  segments = 1 + closed - (tokens == vocabulary.end)
  keys = np.random.default_rng(0).integers(0, 2**64, (BATCHES, rows), np.uint64)
  special = Special(
    vocabulary_size=vocabulary.size,
    vocabulary_hash=vocabulary.describe()['hash'],
    end=vocabulary.end,
    start=vocabulary.pad,
    sentinels=length,
    ids={},
    decode=vocabulary.decode,
    encode=vocabulary.encode,
  )
  return [*zip(tokens, segments.astype(np.int32), keys)], special


def speed(
  noiser: Noiser,
  batches: list[tuple[np.ndarray, ...]],
  special: Special,
  seconds: float,
) -> float:
  """Tokens of text per second."""
  done, start = 0, time.thread_time()
  for batch in itertools.cycle(batches):
    noise(noiser, *batch, special)
    done += batch[0].size
    spent = time.thread_time() - start
    if spent >= seconds:
      return done / spent


def noise(noiser, tokens, segments, keys, special):
  """What a noiser of any kind makes of a batch."""
  if isinstance(noiser, PairNoiser):
    return noiser.pairs(tokens, keys, special)
  if isinstance(noiser, MaskNoiser):
    return noiser.hide(tokens, segments, keys, special)
  return noiser.texts(tokens, segments, keys, special)


def filled(noiser, tokens, segments, keys, special) -> list[float]:
  """How much of the room is used, or which part is hidden."""
  made = noise(noiser, tokens, segments, keys, special)
  if isinstance(noiser, MaskNoiser):
    return [made[1].mean()]
  length = tokens.shape[1]
  if isinstance(noiser, PairNoiser):
    sizes, parts = noiser.sizes(length), (made.inputs, made.targets)
  else:
    sizes, parts = (noiser.size(length),), made[:1]
  return [part.lengths.mean() / size for part, size in zip(parts, sizes)]


if __name__ == '__main__':
  main()
