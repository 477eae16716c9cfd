"""Random orders of many groups at once, computed and not stored.

`permutation.permute` serves one large group. A batch of packed rows asks for
a few documents of each of a hundred lengths, so here each number has a group
size of its own. The swap-or-not shuffle (Hoang, Morris and Rogaway, "An
Enciphering Scheme Based on a Card Shuffle", 2012, figure 1) takes any size as
it is: each round pairs x with k - x, and swaps the pair or does not.
"""

import numpy as np

ROUNDS = 32
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def permute_groups(
  index: np.ndarray, sizes: np.ndarray, groups: np.ndarray
) -> np.ndarray:
  """Places each number in its own group's pseudo-random order.

  Args:
    index: i64[n], each in [0, its size).
    sizes: i64[n], at least 1; the same for the same group.
    groups: u64[n], what chooses the permutation of a number, such as a hash of
      seed, epoch and group.

  Returns:
    i64[n], each in [0, its size); for every group a bijection, the same on
    every machine.
  """
  place = np.asarray(index, np.uint64)
  sizes = np.asarray(sizes, np.uint64)
  assert np.all(place < sizes), 'an index beyond its group'
  key = mix(np.asarray(groups, np.uint64))
  for _ in range(ROUNDS):
    key = key + _GOLDEN
    drawn = mix(key)
    partner = drawn % sizes + sizes - place
    partner -= np.where(partner >= sizes, sizes, np.uint64(0))
    higher = np.maximum(place, partner)  # the same from both sides of a pair
    swap = mix(higher ^ drawn) >> np.uint64(63) != 0
    place = np.where(swap, partner, place)
  return place.astype(np.int64)


def mix(x: np.ndarray) -> np.ndarray:
  """Spreads every bit of u64[n] over all: the finalizer of MurmurHash3."""
  x = (x ^ (x >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
  x = (x ^ (x >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
  return x ^ (x >> np.uint64(33))
