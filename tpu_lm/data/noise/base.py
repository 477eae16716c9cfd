"""What noisers are given, and what they give back."""

import abc
import hashlib
from typing import ClassVar, NamedTuple

import numpy as np

from tpu_lm.data.layout import (
  DECODER,
  ENCODER,
  ENCODER_DECODER,
  PREFIX_DECODER,
)
from tpu_lm.data.special_tokens import Special


class Ragged(NamedTuple):
  """Rows of different lengths, end to end.

  Attributes:
    tokens: i32[sum of lengths].
    lengths: i64[n].
  """

  tokens: np.ndarray
  lengths: np.ndarray


class Pairs(NamedTuple):
  """Inputs and targets of n rows, without end marks.

  Attributes:
    inputs: what is read: by the encoder, or before the targets.
    targets: what is predicted.
    labels: i64[n], which of the noiser's `labels` made each row.
    positions: i32[tokens of the targets], where each target token stands in
      the text (the first at 0), for objectives whose decoder counts so; None:
      0, 1, 2, ... in each row.
  """

  inputs: Ragged
  targets: Ragged
  labels: np.ndarray
  positions: np.ndarray | None = None


class Noiser(abc.ABC):
  """What all three kinds share.

  A noiser overrides what differs. `keys` are u64[n], one for each row,
  whatever else is in the batch; `draws` makes random numbers of them.

  Attributes:
    layouts: the kinds of `Layout` that it is for.
  """

  layouts: ClassVar[tuple[str, ...]]

  @property
  @abc.abstractmethod
  def labels(self) -> tuple[str, ...]:
    """Names of the objectives that its rows are of, for reports."""

  @property
  def names(self) -> tuple[str, ...]:
    """The special tokens that it uses, sentinels left aside."""
    return ()

  def sentinels(self, length: int) -> int:
    """How many sentinels it needs at most for a row of so many tokens."""
    return 0


class PairNoiser(Noiser):
  """Gives inputs and targets, for models that read one to write the other."""

  layouts = (DECODER, PREFIX_DECODER, ENCODER_DECODER)

  @abc.abstractmethod
  def sizes(self, length: int) -> tuple[int, int]:
    """The most tokens of inputs and of targets that a row of text gives.

    Args:
      length: tokens of the row, at least 1. Both sizes never fall as it grows.
    """

  def total(self, length: int) -> int:
    """The most tokens that inputs and targets of one row have together."""
    return sum(self.sizes(length))

  @abc.abstractmethod
  def pairs(
    self, tokens: np.ndarray, keys: np.ndarray, special: Special
  ) -> Pairs:
    """Makes inputs and targets of i32[n, length]."""


class TextNoiser(Noiser):
  """Rearranges documents, for next-token prediction on what comes out."""

  layouts = (DECODER, PREFIX_DECODER)

  @abc.abstractmethod
  def size(self, length: int) -> int:
    """The most tokens that a row of so many tokens gives."""

  @abc.abstractmethod
  def texts(
    self,
    tokens: np.ndarray,
    segments: np.ndarray,
    keys: np.ndarray,
    special: Special,
  ) -> tuple[Ragged, np.ndarray]:
    """Rearranges the documents, or parts of them, in each row.

    Args:
      tokens: i32[n, length].
      segments: i32[n, length], the document of each token, from 1, rising.
      keys: u64[n].
      special: the special tokens' numbers.

    Returns:
      The rows' new tokens, and the document of each, i32[their sum].
    """


class MaskNoiser(Noiser):
  """Hides some tokens, for models that see both ways to restore them."""

  layouts = (ENCODER,)

  @abc.abstractmethod
  def hide(
    self,
    tokens: np.ndarray,
    segments: np.ndarray,
    keys: np.ndarray,
    special: Special,
  ) -> tuple[np.ndarray, np.ndarray]:
    """Chooses tokens and hides them.

    Args:
      tokens: i32[n, S].
      segments: i32[n, S], the document of each token, from 1, rising; 0 is
        padding, at the end of a row, and is never chosen.
      keys: u64[n].
      special: the special tokens' numbers.

    Returns:
      What the model reads, i32[n, S], and which tokens were chosen, bool[n, S].
    """


def longest(fits, most: int) -> int:
  """The largest length from 1 to `most` that fits, or 0; `fits` only falls."""
  low, high = 0, most
  while low < high:
    middle = (low + high + 1) // 2
    low, high = (middle, high) if fits(middle) else (low, middle - 1)
  return low


def salt(name: str) -> np.uint64:
  """A number for a name, the same in every process."""
  digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
  return np.frombuffer(digest, '<u8')[0]
