"""Prefix language modelling: the beginning is read, the rest is predicted."""

import dataclasses

import numpy as np

from tpu_lm.checks import check_number, require
from tpu_lm.data.noise import draws
from tpu_lm.data.noise.base import PairNoiser, Pairs, Ragged
from tpu_lm.data.special_tokens import Special


@dataclasses.dataclass(frozen=True)
class Prefix(PairNoiser):
  """Splits a text in two: the first part is read, the second predicted.

  The split is drawn from a range, each place in it alike likely, and neither
  part is empty; of a text of a single token nothing is read. In the papers:

    T5 (Raffel et al. 2020, arXiv:1910.10683, section 3.3.3): all splits.
    CodeT5+ (Wang et al. 2023, arXiv:2305.07922, section 3.2): 0.1 to 0.9.
    UL2's S denoiser (Tay et al. 2022, arXiv:2205.05131, table 1: spans of a
    quarter of the text, a quarter noised): 0.75 to 0.75; its appendix uses
    T5's.

  Attributes:
    least: which part of the text is read at least.
    most: and at most. Both are rounded to whole tokens.
  """

  least: float = 0.0
  most: float = 1.0

  def __post_init__(self):
    check_number('Prefix.least', self.least, least=0)
    check_number('Prefix.most', self.most, least=0)
    good = self.least <= self.most <= 1
    require(good, 'Prefix.most', self.most, 'must be from Prefix.least to 1')

  @property
  def labels(self) -> tuple[str, ...]:
    """One."""
    return ('prefix',)

  def sizes(self, length: int) -> tuple[int, int]:
    """See `PairNoiser`."""
    low, high = self._range(length)
    return high, length - low

  def total(self, length: int) -> int:
    """Every token is read or written, and none is added."""
    return length

  def pairs(
    self, tokens: np.ndarray, keys: np.ndarray, special: Special
  ) -> Pairs:
    """See `PairNoiser`."""
    low, high = self._range(tokens.shape[1])
    split = low + draws.below(keys, high - low + 1, 1, 'split')[:, 0]
    read = np.arange(tokens.shape[1]) < split[:, None]
    tokens = np.asarray(tokens, np.int32)
    return Pairs(
      Ragged(tokens[read], split),
      Ragged(tokens[~read], tokens.shape[1] - split),
      np.zeros(len(tokens), np.int64),
    )

  def _range(self, length: int) -> tuple[int, int]:
    """The fewest and the most tokens that are read."""
    low, high = round(self.least * length), round(self.most * length)
    most = length - 1
    return min(max(low, 1), most), min(max(high, 1), most)
