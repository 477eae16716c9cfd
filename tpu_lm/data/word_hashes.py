"""Texts as sequences of words, each a 64-bit number, without Python loops.

A word is what stands between white space, in lower case, punctuation left
out: "Don't" is `dont`. In scripts written without spaces (Chinese, Japanese)
each character is a word. Thai, Lao, Khmer and Burmese also do without spaces
and are not cut: there a word is as long as the writer made it.
"""

import functools
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np

CHARACTERS = 2**18  # worked on at once: what fits into a processor's cache

_DROPPED, _SPACE, _LETTER, _WORD = range(4)
_PLANES = 0x20000  # the code points from here on are Chinese characters
_ALONE = ((0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF))
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64
_MIX = np.uint64(0xBF58476D1CE4E5B9)


def hash_words(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
  """Cuts texts into words and hashes each.

  Two words hash alike if they are equal; two that differ do so about once in
  2**64 times. Hashes are the same in every process and on every machine.

  Args:
    texts: of any length; a word longer than `CHARACTERS` may be cut.

  Returns:
    u64[words], the hashes of all texts' words in order, and i64[words], the
    number of the text that each is from.
  """
  lowered = [text.lower() for text in texts]
  ends = np.cumsum([len(text) + 1 for text in lowered])
  hashes, places = [], []
  start = 0
  for part in _parts('\n'.join(lowered)):
    found, where = _hash_part(part)
    hashes.append(found)
    places.append(where + start)
    start += len(part)
  if not hashes:
    return np.empty(0, np.uint64), np.empty(0, np.int64)
  numbers = np.searchsorted(ends, np.concatenate(places), side='right')
  return np.concatenate(hashes), numbers


def is_letter(character: str) -> bool:
  """Whether a character makes one word with the letters beside it."""
  return bool(_kinds()[min(ord(character), _PLANES)] == _LETTER)


def _parts(text: str) -> Iterator[str]:
  """Cuts a text into parts, between words wherever there is a space."""
  start = 0
  while start < len(text):
    stop = start + CHARACTERS
    if stop < len(text):
      space = max(text.rfind(' ', start, stop), text.rfind('\n', start, stop))
      stop = space + 1 if space >= 0 else stop
    yield text[start:stop]
    start = stop


def _hash_part(text: str) -> tuple[np.ndarray, np.ndarray]:
  """The words of a text: u64[words] hashes and i64[words] first characters.

  The hash of a word of characters c_0, c_1 ... is the sum of c_i * BASE**i
  modulo 2**64, mixed: a difference of running sums, over BASE**start.
  """
  points = np.frombuffer(text.encode('utf-32-le', 'surrogatepass'), np.uint32)
  kinds = _kinds()[np.minimum(points, _PLANES)]
  kept = np.flatnonzero(kinds)
  points, kinds = points[kept], kinds[kept]
  inside = kinds == _LETTER
  inside[1:] &= kinds[:-1] == _LETTER
  inside[:1] = False
  starts = np.flatnonzero((kinds != _SPACE) & ~inside)
  powers, inverses = _powers()
  sums = np.zeros(len(points) + 1, np.uint64)
  np.cumsum(
    np.where(kinds == _SPACE, np.uint64(0), points) * powers[: len(points)],
    out=sums[1:],
  )
  before = sums[starts]
  after = np.append(before[1:], sums[-1])  # spaces add nothing
  words = (after - before) * inverses[starts]
  return (words ^ (words >> np.uint64(31))) * _MIX, kept[starts]


@functools.cache
def _kinds() -> np.ndarray:
  """u8[_PLANES + 1]: what each code point is to a word."""
  kinds = np.full(_PLANES + 1, _DROPPED, np.uint8)
  for point in range(_PLANES):
    character = chr(point)
    if character.isspace():
      kinds[point] = _SPACE
    elif unicodedata.category(character)[0] in 'LMN':  # letter, mark, number
      kinds[point] = _LETTER
  for first, last in _ALONE:
    kinds[first : last + 1] = _WORD
  kinds[_PLANES] = _WORD
  return kinds


@functools.cache
def _powers() -> tuple[np.ndarray, np.ndarray]:
  """u64[CHARACTERS + 1] powers of the base and of its inverse."""
  return tuple(
    np.cumprod(np.array([1] + [base] * CHARACTERS, np.uint64))
    for base in (_BASE, pow(_BASE, -1, 2**64))
  )
