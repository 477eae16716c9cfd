"""UL2's mixture of denoisers.

It stands above the noisers that it is made of, and they know nothing of it.
"""

import dataclasses
import functools

from tpu_lm.checks import check_number, require
from tpu_lm.data.noise.mixed import Part, Parts
from tpu_lm.data.noise.prefix import Prefix
from tpu_lm.data.noise.span_corruption import SpanCorruption

# The denoisers of table 1 by group and name: mean span and density.
GROUPS = {
  'r': {
    'R 3 0.15': SpanCorruption(0.15, 3.0),
    'R 8 0.15': SpanCorruption(0.15, 8.0),
  },
  's': {'S': Prefix(0.75, 0.75)},
  'x': {
    'X 3 0.5': SpanCorruption(0.5, 3.0),
    'X 8 0.5': SpanCorruption(0.5, 8.0),
    'X 64 0.15': SpanCorruption(0.15, 64.0, ends_in_text=True),
    'X 64 0.5': SpanCorruption(0.5, 64.0),
  },
}


@dataclasses.dataclass(frozen=True)
class UL2(Parts):
  """Seven denoisers (Tay et al. 2022, arXiv:2205.05131, section 3.1).

  R: short spans, little noise; X: long spans or much noise; S: the last
  quarter of the text. Within a group all denoisers come alike often; the
  defaults make it all seven, as in the paper. At 512 inputs it needs 128
  sentinels and more, see `sentinels`.

  The denoiser (64, 0.15) hides a single span in texts of less than 637 tokens.
  With T5's mask that is always the end of the text, so one more S; here it
  lies anywhere within, see `SpanCorruption.ends_in_text`.

  Attributes:
    r: how often R has its turn, in relation to the other two.
    s: likewise S; 0 leaves a group out.
    x: likewise X.
    mode_tokens: whether inputs begin with the group's token.
  """

  r: float = 2.0
  s: float = 1.0
  x: float = 4.0
  mode_tokens: bool = True

  def __post_init__(self):
    name = type(self).__name__
    for group in GROUPS:
      check_number(f'{name}.{group}', getattr(self, group), least=0)
    good = self.r + self.s + self.x > 0
    require(good, f'{name}.r', self.r, 'must not be 0 like s and x')
    key, tokens = f'{name}.mode_tokens', self.mode_tokens
    require(isinstance(tokens, bool), key, tokens, 'must be a bool')

  @functools.cached_property
  def parts(self) -> tuple[Part, ...]:
    """Those denoisers that have a turn."""
    parts = []
    for group, noisers in GROUPS.items():
      weight = getattr(self, group) / len(noisers)
      mode = f'mode_{group}' if self.mode_tokens else ''
      for label, noiser in noisers.items():
        parts += [Part(noiser, weight, mode, label)] if weight else []
    return tuple(parts)


@dataclasses.dataclass(frozen=True)
class UL2R(UL2):
  """UL2's mixture for going on with a model that was trained without it.

  Tay et al. 2022 (arXiv:2210.11399): half S, a quarter R, a quarter X. The
  shares are from memory; that paper's denoisers may differ from the seven of
  UL2, which are used here.
  """

  r: float = 0.25
  s: float = 0.5
  x: float = 0.25
