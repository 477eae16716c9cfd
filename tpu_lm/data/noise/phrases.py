"""Phrases found in rows of tokens, without Python loops over rows or tokens.

A phrase is found where its tokens stand as whole words (see `words`).
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tpu_lm.data.group_order import mix
from tpu_lm.data.noise import words
from tpu_lm.data.special_tokens import Special

_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64
_BITS = 18  # of a hash, by which it is looked up


class Phrases(NamedTuple):
  """Phrases in the tokens of one vocabulary.

  Attributes:
    hashes: u64[m], rising; one for each way in which a phrase is tokenised.
    numbers: i64[m], what each is known by; whoever made them says what it is.
    lengths: words that a phrase may have, falling.
    buckets: i32[2**18 + 1], for each first 18 bits of a hash the index of the
      first one that has no lower bits; its bucket ends with the next.
  """

  hashes: np.ndarray
  numbers: np.ndarray
  lengths: tuple[int, ...]
  buckets: np.ndarray


class Found(NamedTuple):
  """Where phrases stand, in order; none overlaps another.

  Attributes:
    starts: i64[k], the first token of each, counted through all rows.
    stops: i64[k], the token after its last.
    numbers: i64[k], as of `Phrases`.
  """

  starts: np.ndarray
  stops: np.ndarray
  numbers: np.ndarray


def index(
  forms: Sequence[np.ndarray], numbers: Sequence[int], special: Special
) -> Phrases:
  """Makes phrases of their tokens.

  Args:
    forms: i32[tokens] each, at least one of them; of equal ones the first
      counts.
    numbers: what each is known by.
    special: with the vocabulary at hand.
  """
  tokens = np.concatenate(forms)[None]
  stops = np.cumsum([len(form) for form in forms])
  starts = np.append(0, stops[:-1])
  table = words.word_table(special)
  begins = words.word_starts(tokens, table)[0]
  begins[starts] = True
  begins &= table[tokens[0]] & words.BLANK == 0
  lengths = np.add.reduceat(begins, starts, dtype=np.int64)
  hashes = _hashes(_sums(tokens), starts, stops, starts * 0)
  hashes, first = np.unique(hashes, return_index=True)
  buckets = np.searchsorted(_bucket(hashes), np.arange((1 << _BITS) + 1))
  return Phrases(
    hashes,
    np.asarray(numbers, np.int64)[first],
    tuple(np.unique(lengths)[::-1].tolist()),
    buckets.astype(np.int32),
  )


def find(
  known: Phrases, tokens: np.ndarray, segments: np.ndarray, special: Special
) -> Found:
  """Finds phrases; of those that overlap the longest, then the first.

  Args:
    known: what is looked for.
    tokens: i32[n, S].
    segments: i32[n, S], the document of each token; no phrase crosses two.
    special: with the vocabulary at hand.
  """
  starts, stops = words.word_places(tokens, segments, special)
  row = starts // max(tokens.shape[1], 1)
  document = segments.reshape(-1)[starts]
  sums = _sums(tokens)
  covered = np.zeros(tokens.size, bool)
  found = [np.zeros((3, 0), np.int64)]
  for length in known.lengths:
    last = length - 1
    count = max(len(starts) - last, 0)
    begin, end = starts[:count], stops[last:]
    together = row[:count] == row[last:]
    together &= document[:count] == document[last:]
    place = np.flatnonzero(together)
    hashes = _hashes(sums, begin[place], end[place], row[place])
    hits, index = _look_up(known, hashes)
    place = place[hits]
    # What a longer phrase covers it covers at one of the ends.
    free = ~covered[begin[place]] & ~covered[end[place] - 1]
    place, index = _apart(place[free], index[free], length)
    made = np.stack([begin[place], end[place], known.numbers[index]])
    covered |= inside(made[0], made[1], tokens.size)
    found.append(made)
  found = np.concatenate(found, axis=1)
  return Found(*found[:, np.argsort(found[0])])


def inside(starts: np.ndarray, stops: np.ndarray, size: int) -> np.ndarray:
  """Which of `size` tokens lie in stretches that don't overlap, bool[size]."""
  change = np.zeros(size + 1, np.int8)
  change[starts] += 1
  change[stops] -= 1
  return np.cumsum(change[:-1], dtype=np.int8) > 0


def _apart(
  place: np.ndarray, index: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray]:
  """Of phrases of one length, those that overlap none before that is kept.

  Args:
    place: i64[k], the number of each one's first word, rising.
    index: i64[k], what goes with it.
    length: their words.
  """
  kept = np.zeros(len(place), bool)
  open_ = np.arange(len(place))
  while len(open_):
    left = place[open_]
    heads = np.diff(left, prepend=-length) >= length
    kept[open_[heads]] = True
    before = np.maximum.accumulate(np.where(heads, left, 0))
    open_ = open_[left >= before + length]
  return place[kept], index[kept]


def _sums(tokens: np.ndarray) -> np.ndarray:
  """Running sums of token * BASE**place in each row, u64[n, S + 1]."""
  length = tokens.shape[1]
  sums = np.zeros((len(tokens), length + 1), np.uint64)
  terms = (tokens + 1).astype(np.uint64) * _powers(length)[0][:length]
  np.cumsum(terms, axis=1, out=sums[:, 1:])
  return sums


def _hashes(
  sums: np.ndarray, starts: np.ndarray, stops: np.ndarray, row: np.ndarray
) -> np.ndarray:
  """Hashes of pieces of rows, u64[k]; equal for equal tokens, wherever.

  Args:
    sums: u64[n, S + 1].
    starts: i64[k], counted through all rows of S tokens, as are `stops`.
    stops: i64[k].
    row: i64[k].
  """
  length = sums.shape[1] - 1
  flat, inverse = sums.reshape(-1), _powers(length)[1]
  pieces = flat[stops + row] - flat[starts + row]
  return mix(pieces * inverse[starts - row * length])


def _bucket(hashes: np.ndarray) -> np.ndarray:
  return (hashes >> np.uint64(64 - _BITS)).astype(np.int64)


def _look_up(
  known: Phrases, hashes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Which hashes are known, i64[k] rising, and their indices there, i64[k]."""
  bucket = _bucket(hashes)
  index = known.buckets[bucket].astype(np.int64)
  some = np.flatnonzero(index < known.buckets[bucket + 1])
  hashes, index, end = (
    hashes[some],
    index[some],
    known.buckets[bucket[some] + 1],
  )
  found = known.hashes[index] == hashes
  # Few buckets have more than one.
  left = np.flatnonzero(~found)
  while len(left):
    index[left] += 1
    left = left[index[left] < end[left]]
    same = known.hashes[index[left]] == hashes[left]
    found[left[same]] = True
    left = left[~same]
  return some[found], index[found]


@functools.lru_cache(maxsize=16)
def _powers(length: int) -> tuple[np.ndarray, np.ndarray]:
  """u64[length + 1] powers of the base and of its inverse."""
  return tuple(
    np.cumprod(np.array([1] + [base] * length, np.uint64))
    for base in (_BASE, pow(_BASE, -1, 2**64))
  )
