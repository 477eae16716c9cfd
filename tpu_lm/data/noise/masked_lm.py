"""Masked language modelling: some tokens are hidden and restored.

Devlin et al. 2019 (BERT, arXiv:1810.04805), section 3.1; whole words from the
authors' later release.
"""

import dataclasses

import numpy as np

from tpu_lm.checks import check_number, require
from tpu_lm.data.noise import draws
from tpu_lm.data.noise.base import MaskNoiser
from tpu_lm.data.noise.units import Tokens, Units, choose, maskable
from tpu_lm.data.special_tokens import Special


@dataclasses.dataclass(frozen=True)
class MaskedLM(MaskNoiser):
  """Hides part of the tokens, unit by unit.

  Of a row of m tokens, padding and ends of documents left aside, at most
  max(1, round(rate * m)) are chosen: units are taken in a random order, and
  one that would exceed the number is passed over. Less is chosen where no unit
  fits, or where there are too few of them, such as of names.

  BIOptimus (Pavlova and Makhlouf 2023; the release's table of phases) trains
  in four of them: Tokens() at 0.15, WholeWords() at 0.15, then at 0.2, and at
  last at 0.2 with mask=1.0 and random=0.0.

  Attributes:
    rate: which part of the tokens is chosen.
    units: what is chosen as one.
    mask: which part of the chosen tokens becomes the mask.
    random: which part becomes a token drawn from the whole vocabulary, alike
      likely. The rest stays as it is and is predicted all the same.
  """

  rate: float = 0.15
  units: Units = Tokens()
  mask: float = 0.8
  random: float = 0.1

  def __post_init__(self):
    key = 'MaskedLM'
    check_number(f'{key}.rate', self.rate, above=0)
    require(self.rate <= 1, f'{key}.rate', self.rate, 'must be at most 1')
    good = isinstance(self.units, Units)
    require(good, f'{key}.units', self.units, 'must be units: Tokens(), ...')
    check_number(f'{key}.mask', self.mask, least=0)
    check_number(f'{key}.random', self.random, least=0)
    good = self.mask + self.random <= 1 + 1e-9
    hint = f'must be at most 1 together with mask = {self.mask!r}'
    require(good, f'{key}.random', self.random, hint)

  @property
  def labels(self) -> tuple[str, ...]:
    """One objective."""
    return ('masked_lm',)

  @property
  def names(self) -> tuple[str, ...]:
    """The mask, if it is used."""
    return ('mask',) if self.mask else ()

  def hide(
    self,
    tokens: np.ndarray,
    segments: np.ndarray,
    keys: np.ndarray,
    special: Special,
  ) -> tuple[np.ndarray, np.ndarray]:
    """See `MaskNoiser`."""
    count = maskable(tokens, segments, special).sum(1)
    budget = np.rint(self.rate * count).astype(np.int64)
    budget = np.minimum(np.maximum(budget, 1), count)
    starts, hidden = self.units.divide(tokens, segments, keys, special)
    chosen = choose(starts, hidden, budget, keys)
    read = tokens.astype(np.int32)  # a copy
    read[chosen] = self._replace(read, chosen, keys, special)
    return read, chosen

  def _replace(self, tokens, chosen, keys, special) -> np.ndarray:
    """What is read in place of the chosen tokens, i32[their number]."""
    length = tokens.shape[1]
    drawn = draws.uniform(keys, length, 'replaced')[chosen]
    text = draws.below(keys, special.vocabulary_size, length, 'random tokens')
    random = drawn < self.mask + self.random
    read = np.where(random, text[chosen], tokens[chosen])
    return np.where(drawn < self.mask, special.id('mask'), read)
