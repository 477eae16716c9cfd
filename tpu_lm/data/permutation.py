"""A random order of 0 .. size - 1 that is computed, not stored.

A Feistel network permutes a power of two of numbers; cycle walking (apply it
again until the result is in range) restricts it to any size. Black and
Rogaway, "Ciphers with Arbitrary Finite Domains" (2002), sections 3 and 4.
It orders rows; it is no cipher.
"""

import functools
import hashlib
import json

import numpy as np

STRETCH = 1024  # cursors worked out at once
EPOCHS = 8  # of them at most: each epoch has an order of its own to work out
KEPT = 1024  # stretches that are kept, 8 KB each
ROUNDS = 8  # even, so that unequal halves end up where they began


def permute(index: np.ndarray, size: int, *key: int | str) -> np.ndarray:
  """Places `index` in a pseudo-random order of the numbers below `size`.

  Args:
    index: i64[n], each in [0, size).
    size: how many numbers are permuted, at least 1.
    *key: what chooses the permutation, such as seed, name and epoch. The same
      on every machine and in every process.

  Returns:
    i64[n], each in [0, size); a bijection of [0, size) for any key.
  """
  index = np.asarray(index, np.int64)
  assert size >= 1 and np.all((index >= 0) & (index < size)), size
  bits = max(2, (size - 1).bit_length())
  keys = _round_keys(key)
  result = _feistel(index.astype(np.uint64), bits, keys)
  outside = np.flatnonzero(result >= size)
  while outside.size:
    result[outside] = _feistel(result[outside], bits, keys)
    outside = outside[result[outside] >= size]
  return result.astype(np.int64)


def reshuffle(cursors: np.ndarray, size: int, *key: int | str) -> np.ndarray:
  """Walks through `size` things again and again, each time in a new order.

  Args:
    cursors: i64[n], at least 0; cursor c is step c % size of epoch c // size.
    size: how many things there are, at least 1.
    *key: what chooses the orders, together with the epoch.

  Returns:
    i64[n], each in [0, size).
  """
  cursors = np.asarray(cursors, np.int64)
  length = min(STRETCH, EPOCHS * size)
  stretches, places = np.divmod(cursors, length)
  numbers = np.unique(stretches)
  if len(numbers) > 2:  # scattered, or enough of them to be worth it
    return _orders(cursors, size, *key)
  for number in numbers:
    here = stretches == number
    places[here] = _stretch(int(number), length, size, *key)[places[here]]
  return places


@functools.lru_cache(KEPT)
def _stretch(
  number: int, length: int, size: int, *key: int | str
) -> np.ndarray:
  """What `reshuffle` gives for the next `length` cursors of many.

  A few numbers take as long as a thousand, and a source's cursors come in
  their order, so a thousand are worked out and kept.
  """
  cursors = np.arange(number * length, (number + 1) * length)
  return _orders(cursors, size, *key)


def _orders(cursors: np.ndarray, size: int, *key: int | str) -> np.ndarray:
  """Works out `reshuffle`, epoch by epoch."""
  epochs, places = np.divmod(cursors, size)
  for epoch in np.unique(epochs):
    here = epochs == epoch
    places[here] = permute(places[here], size, *key, int(epoch))
  return places


def stable_hash(*key: int | str, bytes_wanted: int = 8) -> bytes:
  """Hashes numbers and strings the same way in every process, at most 64 B."""
  text = json.dumps(key, ensure_ascii=True).encode()
  return hashlib.blake2b(text, digest_size=bytes_wanted).digest()


def _round_keys(key: tuple[int | str, ...]) -> np.ndarray:
  """Makes u64[ROUNDS] of a key."""
  return np.frombuffer(stable_hash(*key, bytes_wanted=8 * ROUNDS), '<u8')


def _feistel(x: np.ndarray, bits: int, keys: np.ndarray) -> np.ndarray:
  """Permutes u64[n] of numbers below 2**bits."""
  low_bits = bits // 2
  high_bits = bits - low_bits
  high, low = x >> np.uint64(low_bits), x & _ones(low_bits)
  for round_key in keys:
    high, low = low, high ^ (_mix(low ^ round_key) & _ones(high_bits))
    high_bits, low_bits = low_bits, high_bits
  return high << np.uint64(low_bits) | low


def _ones(bits: int) -> np.uint64:
  return np.uint64((1 << bits) - 1)


def _mix(x: np.ndarray) -> np.ndarray:
  """Spreads every bit of u64[n] over all: SplitMix64's finalizer.

  Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators"
  (2014), figure 17, variant 13 of Stafford.
  """
  x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return x ^ (x >> np.uint64(31))
