"""Span corruption: sentinels stand for spans, and the spans are predicted.

Raffel et al. 2020 (T5, arXiv:1910.10683), section 3.1.4, and the authors'
preprocessors; from there: random_spans_noise_mask, random_spans_helper.
"""

import dataclasses

import numpy as np

from tpu_lm.checks import check_number, require
from tpu_lm.data.noise import spans
from tpu_lm.data.noise.base import PairNoiser, Pairs
from tpu_lm.data.special_tokens import Special


@dataclasses.dataclass(frozen=True)
class SpanCorruption(PairNoiser):
  """T5's objective.

  For the tokens `a b c d e f g` with `c d` and `g` hidden:

      inputs     a b <0> e f <1>
      targets    <0> c d <1> g

  How many tokens are hidden, and in how many spans, follows from the length
  alone; where they lie is drawn, all ways alike likely. So span lengths are
  not geometric, and all rows of one length give inputs of one length.

  Attributes:
    noise_density: which part of the tokens is hidden. At least one is, and
      one stays; a text of a single token is not noised (its target is <0>).
    mean_span: the mean length of a hidden span, at least 1.
    ends_in_text: False is T5's: a text begins with a span that stays and ends
      with a hidden one. A single span is then always the end of the text;
      when True it ends with a span that stays, too, so that hidden spans lie
      anywhere within, and the targets are closed by one more sentinel. T5's
      code offers to rotate the mask instead, which may cut a span in two.
  """

  noise_density: float = 0.15
  mean_span: float = 3.0
  ends_in_text: bool = False

  def __post_init__(self):
    key = 'SpanCorruption'
    density, ends = self.noise_density, self.ends_in_text
    check_number(f'{key}.noise_density', density, above=0, below=1)
    check_number(f'{key}.mean_span', self.mean_span, least=1)
    require(
      isinstance(ends, bool), f'{key}.ends_in_text', ends, 'must be a bool'
    )

  @property
  def labels(self) -> tuple[str, ...]:
    """One."""
    return ('span_corruption',)

  def sentinels(self, length: int) -> int:
    """As many as there are spans that stay: the targets have one for each."""
    return self._counts(length)[2]

  def sizes(self, length: int) -> tuple[int, int]:
    """What every row of the length gives, not only the most."""
    hidden, gone, kept = self._counts(length)
    return length - hidden + gone, hidden + kept

  def pairs(
    self, tokens: np.ndarray, keys: np.ndarray, special: Special
  ) -> Pairs:
    """See `PairNoiser`."""
    _, gone, kept = self._counts(tokens.shape[1])
    sizes = self.sizes(tokens.shape[1])
    mask = self._mask(*tokens.shape, keys)
    return Pairs(
      spans.even(_sentinels_for(mask, tokens, gone, sizes[0], special)),
      spans.even(_sentinels_for(~mask, tokens, kept, sizes[1], special)),
      np.zeros(len(tokens), np.int64),
    )

  def _counts(self, length: int) -> tuple[int, int, int]:
    """Tokens that are hidden, spans that are, and spans that stay."""
    ends = int(self.ends_in_text)
    most = length - 1 - ends
    if most < 1:
      return 0, 0, 1
    hidden = min(max(round(length * self.noise_density), 1), most)
    # T5 has no upper limit here; dense noise in short spans needs one.
    gone = min(max(round(hidden / self.mean_span), 1), length - hidden - ends)
    return hidden, gone, gone + ends

  def _mask(self, rows: int, length: int, keys: np.ndarray) -> np.ndarray:
    """Draws which tokens are hidden, bool[rows, length]."""
    hidden, gone, kept = self._counts(length)
    if not hidden:
      return np.zeros((rows, length), bool)
    lengths = np.empty((rows, gone + kept), np.int64)
    lengths[:, ::2] = spans.compositions(keys, length - hidden, kept, 'kept')
    lengths[:, 1::2] = spans.compositions(keys, hidden, gone, 'hidden')
    odd = np.tile(np.arange(gone + kept) % 2 == 1, rows)
    return np.repeat(odd, lengths.reshape(-1)).reshape(rows, length)


def lengths(
  inputs_length: int, noise_density: float = 0.15, mean_span: float = 3.0
) -> tuple[int, int]:
  """T5's choice of lengths, its random_spans_helper.

  It is the longest text whose inputs fit together with an end mark, but at a
  density of one half it is one token less where the targets would else be
  longer than `inputs_length`. Where a text is so short that its spans round
  to none, none is counted, though T5's noise has one even then.

  Args:
    inputs_length: places for inputs, the end mark included.
    noise_density: as of `SpanCorruption`.
    mean_span: likewise.

  Returns:
    Tokens of text, and tokens of targets with their end mark: 568 and 114 for
    512 and the defaults.
  """

  def sizes(length: int) -> tuple[int, int]:
    hidden = round(length * noise_density)
    gone = round(hidden / mean_span)
    return length - hidden + gone + 1, hidden + gone + 1

  length = inputs_length - 1
  while sizes(length + 1)[0] <= inputs_length:
    length += 1
  targets = sizes(length)[1]
  if noise_density == 0.5 and targets > inputs_length:
    return length - 1, targets - 1
  return length, targets


def _sentinels_for(
  mask: np.ndarray, tokens: np.ndarray, runs: int, size: int, special: Special
) -> np.ndarray:
  """Replaces each masked run by the row's next sentinel.

  Args:
    mask: bool[n, length], with `runs` runs in each row.
    tokens: i32[n, length].
    runs: how many there are.
    size: how many tokens are left.
    special: knows the sentinels.

  Returns:
    i32[n, size].
  """
  first = mask.copy()
  first[:, 1:] &= ~mask[:, :-1]
  result = tokens.astype(np.int32)
  result[first] = np.tile(special.sentinel(np.arange(runs)), len(tokens))
  return result[first | ~mask].reshape(len(tokens), size)
