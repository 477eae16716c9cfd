"""Rows of real text with documents in them, and what reads noised ones."""

import argparse
import pathlib

import numpy as np

from tpu_lm.data.noise.base import MaskNoiser, PairNoiser
from tpu_lm.data.special_tokens import Special
from tpu_lm.data.vocabularies.bytes import Bytes

BYTES = Bytes()
SPECIAL = Special(
  vocabulary_size=BYTES.size,
  vocabulary_hash=BYTES.describe()['hash'],
  end=BYTES.end,
  start=0,
  sentinels=300,
  ids={},
  decode=BYTES.decode,
  encode=BYTES.encode,
)
TEXT = BYTES.encode([pathlib.Path(argparse.__file__).read_text()])[0]


def make_rows(count, length, seed=0):
  """Text i32[count, length] in which documents end here and there."""
  rng = np.random.default_rng(seed)
  starts = rng.integers(0, len(TEXT) - length, count)
  rows = TEXT[starts[:, None] + np.arange(length)].astype(np.int32)
  rows[rng.random(rows.shape) < 0.02] = SPECIAL.end
  return rows


def make_keys(count, seed=0):
  """u64[count]."""
  return np.random.default_rng(seed).integers(0, 2**64, count, np.uint64)


def make_segments(rows):
  """The document of each token, i32 from 1."""
  ends = np.cumsum(rows == SPECIAL.end, axis=1)
  return (1 + ends - (rows == SPECIAL.end)).astype(np.int32)


def split(ragged, values=None):
  """The rows of a `Ragged` as lists."""
  values = ragged.tokens if values is None else values
  assert len(values) == ragged.lengths.sum()
  stops = np.cumsum(ragged.lengths)
  return [
    values[stop - length : stop].tolist()
    for stop, length in zip(stops, ragged.lengths)
  ]


def noised(noiser, rows, keys):
  """What a noiser of any kind makes of each row, as tuples of lists."""
  if isinstance(noiser, PairNoiser):
    pairs = noiser.pairs(rows, keys, SPECIAL)
    parts = [split(pairs.inputs), split(pairs.targets), pairs.labels.tolist()]
    if pairs.positions is not None:
      parts.append(split(pairs.targets, pairs.positions))
  elif isinstance(noiser, MaskNoiser):
    made = noiser.hide(rows, make_segments(rows), keys, SPECIAL)
    parts = [part.tolist() for part in made]
  else:
    text, documents = noiser.texts(rows, make_segments(rows), keys, SPECIAL)
    parts = [split(text), split(text, documents)]
  return list(zip(*parts, strict=True))
