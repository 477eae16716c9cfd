"""Rows in pieces: dividing them at random, and putting pieces together."""

import numpy as np

from tpu_lm.data.noise import draws
from tpu_lm.data.noise.base import Ragged

# The low bits of a rank hold the place: no two are the same, whatever is drawn.
PLACE = np.uint64((1 << 20) - 1)
_NONE = np.uint64(2**64 - 1)


def shuffled(keys: np.ndarray, sizes: np.ndarray, purpose: str) -> np.ndarray:
  """Draws an order of 0 .. size - 1 for each key, all of them alike likely.

  Args:
    keys: u64[n].
    sizes: i64[n], below 2**20.
    purpose: as of `draws.bits`.

  Returns:
    i64[n, largest size]; in a smaller row numbers >= 2**20 - 1 are left over.
  """
  ranked = np.sort(_ranks(keys, sizes, purpose), axis=1)
  return (ranked & PLACE).astype(np.int64)


def choose(
  keys: np.ndarray, sizes: np.ndarray, counts: np.ndarray, purpose: str
) -> np.ndarray:
  """Chooses so many of 0 .. size - 1 for each key, all sets alike likely.

  Args:
    keys: u64[n].
    sizes: i64[n], below 2**20.
    counts: i64[n], how many; at most the size.
    purpose: as of `draws.bits`.

  Returns:
    bool[n, largest size].
  """
  ranked = _ranks(keys, sizes, purpose)
  if not ranked.size:
    return np.zeros(ranked.shape, bool)
  last = np.maximum(counts - 1, 0)[:, None]
  last = np.take_along_axis(np.sort(ranked, axis=1), last, axis=1)
  return (ranked <= last) & (counts > 0)[:, None]


def compositions(
  keys: np.ndarray, total: int, parts: int, purpose: str
) -> np.ndarray:
  """Divides a number into positive parts, all ways alike likely.

  This is T5's random_segmentation: of the total - 1 places between two ones,
  parts - 1 are chosen.

  Args:
    keys: u64[n].
    total: what is divided.
    parts: how many parts, from 1 to `total`.
    purpose: as of `draws.bits`.

  Returns:
    i64[n, parts]; each row's sum is `total`.
  """
  if not len(keys):
    return np.zeros((0, parts), np.int64)
  rows = np.ones(len(keys), np.int64)
  begins = np.ones((len(keys), total), bool)
  begins[:, 1:] = choose(keys, rows * (total - 1), rows * (parts - 1), purpose)
  starts = np.flatnonzero(begins).reshape(len(keys), parts)
  starts -= np.arange(len(keys))[:, None] * total
  return np.diff(starts, axis=1, append=total)


def spread(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
  """The places of pieces end to end: each start and those that follow it.

  Args:
    starts: i64[m].
    lengths: i64[m], at least 0.

  Returns:
    i64[sum of lengths].
  """
  ends = np.cumsum(lengths)
  total = int(ends[-1]) if len(ends) else 0
  return np.repeat(starts - (ends - lengths), lengths) + np.arange(total)


def even(tokens: np.ndarray) -> Ragged:
  """Rows of one length, int[n, length], as `Ragged`."""
  lengths = np.full(tokens.shape[0], tokens.shape[1], np.int64)
  return Ragged(np.asarray(tokens, np.int32).reshape(-1), lengths)


def padded(rows: Ragged) -> tuple[np.ndarray, np.ndarray]:
  """Rows side by side: tokens i32[n, longest], and bool where there is one."""
  width = int(rows.lengths.max(initial=0))
  used = np.arange(width) < rows.lengths[:, None]
  tokens = np.zeros(used.shape, np.int32)
  tokens[used] = rows.tokens
  return tokens, used


def ranks(keys: np.ndarray, width: int, purpose: str) -> np.ndarray:
  """Draws u64[n, width], all different in a row: sorted, and masked with
  `PLACE`, they are a random order of the places 0 .. width - 1.
  """
  assert width <= int(PLACE), width
  drawn = draws.bits(keys, width, purpose) & ~PLACE
  return drawn | np.arange(width, dtype=np.uint64)


def _ranks(keys: np.ndarray, sizes: np.ndarray, purpose: str) -> np.ndarray:
  """Draws a number for each place, u64[n, largest size]; past a size: most."""
  width = int(sizes.max(initial=0))
  ranked = ranks(keys, width, purpose)
  ranked[np.arange(width) >= sizes[:, None]] = _NONE
  return ranked
