"""Finding the n-grams of many short texts in very many long ones."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tpu_lm.data.word_hashes import hash_words

_BASE = np.uint64(0xD6E8FEB86659FD93)  # odd: no word's bits are lost
_SLOTS = 16  # of the filter, for each n-gram


class NgramIndex:
  """The n-grams of a set of texts (its items), by hash.

  Attributes:
    short: bool[items], True where an item has too few words to be found.
    lengths: of its n-grams, in words.
  """

  def __init__(self, texts: Sequence[str], n: int, shortest: int):
    """Takes in the n-grams of every item.

    Args:
      texts: of the items, in order.
      n: words in an n-gram. An item of fewer words is one n-gram of its own
        length, and none if it has fewer than `shortest`.
      shortest: words, at most `n`.
    """
    words, items = hash_words(texts)
    counts = np.bincount(items, minlength=len(texts))
    self.short = counts < shortest
    wanted = np.minimum(counts, n)
    self.lengths = frozenset(wanted[~self.short].tolist())
    hashes, owners = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for length, rolled in roll(words, self.lengths).items():
      owner = items[: len(rolled)]
      ours = (owner == items[length - 1 :]) & (wanted[owner] == length)
      hashes.append(rolled[ours])
      owners.append(owner[ours])
    every, items = np.concatenate(hashes), np.concatenate(owners)
    order = np.argsort(every, kind='stable')
    self._hashes, starts = np.unique(every[order], return_index=True)
    self._items = items[order]
    self._bounds = np.append(starts, len(order))
    # One look-up tells of most n-grams of a corpus that they are not here.
    bits = max(int(_SLOTS * len(starts) - 1).bit_length(), 10)
    self._shift = np.uint64(64 - bits)
    self._filter = np.zeros(2**bits, bool)
    self._filter[self._hashes >> self._shift] = True

  def __len__(self) -> int:
    """How many different n-grams there are."""
    return len(self._hashes)

  def find(
    self, rolled: Mapping[int, np.ndarray], documents: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """Finds the n-grams of documents that are here.

    Args:
      rolled: hashes of the documents' n-grams, of at least `lengths`.
      documents: i64[words], the number of the document of each word.

    Returns:
      i64[m], the number of each n-gram found, and i64[m], its document.
    """
    numbers, where = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for length in self.lengths & rolled.keys():
      hashes = rolled[length]
      likely = np.flatnonzero(self._filter[hashes >> self._shift])
      same = documents[likely] == documents[likely + length - 1]
      likely = likely[same]
      number = np.searchsorted(self._hashes, hashes[likely])
      number = np.minimum(number, len(self) - 1)
      hit = self._hashes[number] == hashes[likely]
      numbers.append(number[hit])
      where.append(documents[likely[hit]])
    return np.concatenate(numbers), np.concatenate(where)

  def items_of(self, numbers: np.ndarray) -> np.ndarray:
    """The items that hold any of the n-grams numbered i64[m]; ascending."""
    owned = np.zeros(len(self._items) + 1, np.int64)
    owned[self._bounds[numbers]] += 1
    owned[self._bounds[numbers + 1]] -= 1
    return np.unique(self._items[np.cumsum(owned[:-1]) > 0])


def roll(words: np.ndarray, lengths: Iterable[int]) -> dict[int, np.ndarray]:
  """Hashes of all stretches of so many words.

  Args:
    words: u64[n], hashes of words.
    lengths: of the stretches, in words, at least 1.

  Returns:
    Length to u64[n - length + 1], the hash of the stretch from each word on;
    lengths above n are left out.
  """
  lengths = {length for length in lengths if length <= len(words)}
  rolled, hashes = {}, words
  for length in range(1, max(lengths, default=0) + 1):
    if length > 1:
      hashes = hashes[:-1] * _BASE + words[length - 1 :]
    if length in lengths:
      rolled[length] = hashes
  return rolled
