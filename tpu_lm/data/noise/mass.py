"""MASS: one long fragment is hidden, and the decoder writes it."""

import dataclasses

import numpy as np

from tpu_lm.checks import check_number, require
from tpu_lm.data.noise import draws, spans
from tpu_lm.data.noise.base import PairNoiser, Pairs
from tpu_lm.data.special_tokens import Special

AT_START, AT_END = 0.2, 0.2  # how often the fragment is there
MASKED, RANDOM = 0.8, 0.1  # what becomes of its tokens; the others stay


@dataclasses.dataclass(frozen=True)
class Mass(PairNoiser):
  """Masked sequence to sequence (Song et al. 2019, arXiv:1905.02450).

  For the tokens `a b c d e f` with the fragment `c d e`:

      inputs     a b _ _ _ f
      targets    c d e    positions  2 3 4

  The fragment lies at the start of the text in a fifth of the rows, at its
  end in another, else anywhere. Each of its tokens is masked (80 %), kept or
  replaced by any of the vocabulary (10 % each), as in BERT. All this is what
  the authors' code does. Two things differ: there the decoder first reads the
  token before the fragment, here the start token; and there the encoder gives
  no attention to masked tokens, which is the model's choice here.

  Attributes:
    rate: which part of the text the fragment is; one token at least. The
      paper finds one half best.
  """

  rate: float = 0.5

  def __post_init__(self):
    check_number('Mass.rate', self.rate, above=0)
    require(self.rate <= 1, 'Mass.rate', self.rate, 'must be at most 1')

  @property
  def labels(self) -> tuple[str, ...]:
    """One."""
    return ('mass',)

  @property
  def names(self) -> tuple[str, ...]:
    """The mask."""
    return ('mask',)

  def sizes(self, length: int) -> tuple[int, int]:
    """What every row of the length gives, not only the most."""
    return length, max(1, round(self.rate * length))

  def pairs(
    self, tokens: np.ndarray, keys: np.ndarray, special: Special
  ) -> Pairs:
    """See `PairNoiser`."""
    length = tokens.shape[1]
    size = self.sizes(length)[1]
    where = draws.uniform(keys, 1, 'where')[:, 0]
    start = draws.below(keys, length - size + 1, 1, 'start')[:, 0]
    start[where < AT_START] = 0
    start[where >= 1 - AT_END] = length - size
    places = start[:, None] + np.arange(size)
    fragment = np.take_along_axis(tokens, places, axis=1)
    fate = draws.uniform(keys, size, 'fate')
    others = draws.below(keys, special.vocabulary_size, size, 'others')
    noised = np.where(fate < MASKED + RANDOM, others, fragment)
    noised[fate < MASKED] = special.id('mask')
    inputs = tokens.astype(np.int32)
    np.put_along_axis(inputs, places, noised.astype(np.int32), axis=1)
    return Pairs(
      spans.even(inputs),
      spans.even(fragment),
      np.zeros(len(tokens), np.int64),
      places.astype(np.int32).reshape(-1),
    )
