"""What noisers share whose targets are the clean text."""

import abc
from typing import ClassVar

import numpy as np

from tpu_lm.data.noise import spans
from tpu_lm.data.noise.base import PairNoiser, Pairs, Ragged
from tpu_lm.data.special_tokens import Special


class Corruption(PairNoiser):
  """Corrupts the inputs; the targets are the text as it was.

  Corruptions can follow each other, so what they are given are rows of any
  lengths, and tokens of earlier ones may be among them.

  Attributes:
    label: its name in reports.
  """

  label: ClassVar[str]

  @property
  def labels(self) -> tuple[str, ...]:
    """One."""
    return (self.label,)

  def size(self, length: int) -> int:
    """The most tokens that a row of up to so many is left with."""
    return length

  @abc.abstractmethod
  def corrupt(self, rows: Ragged, keys: np.ndarray, special: Special) -> Ragged:
    """Corrupts rows.

    Args:
      rows: of any lengths, 0 included.
      keys: u64[n].
      special: the special tokens' numbers.
    """

  def sizes(self, length: int) -> tuple[int, int]:
    """See `PairNoiser`."""
    return self.size(length), length

  def pairs(
    self, tokens: np.ndarray, keys: np.ndarray, special: Special
  ) -> Pairs:
    """See `PairNoiser`."""
    clean = spans.even(tokens)
    noised = self.corrupt(clean, keys, special)
    return Pairs(noised, clean, np.zeros(len(tokens), np.int64))


def part_of(counts: np.ndarray, rate: float) -> np.ndarray:
  """A part of each count, rounded up; what is a whole number stays one."""
  return np.ceil(counts * rate - 1e-9).astype(np.int64)
