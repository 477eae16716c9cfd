"""Power-law decay."""

import dataclasses

from tpu_lm.checks import is_number, require
from tpu_lm.schedules import pieces
from tpu_lm.schedules.base import (
  Curve,
  Horizon,
  Length,
  check_end,
  check_length,
)
from tpu_lm.schedules.warmed import Warmed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Power(Warmed):
  """A warm-up, a power of the time, and a linear tail.

  After W warm-up steps, rate(n) = peak (n / W)^exponent, then a straight line
  to `end`. The power and its exponent are those of Shen et al. 2024, arXiv
  2408.13359; the tail is OLMo-core's.

  Attributes:
    exponent: below 0.
    tail: length of the tail; the int 0 for none, which leaves a trunk.
    end: the last step's rate, where there is a tail.
  """

  exponent: float = -0.51
  tail: Length = 0.1
  end: float = 0.0

  def __post_init__(self):
    super().__post_init__()
    expected = 'must not be 0: the power is of the time in warm-ups'
    require(self.warmup != 0, 'Power.warmup', self.warmup, expected)
    good = is_number(self.exponent) and self.exponent < 0
    require(good, 'Power.exponent', self.exponent, 'must be a number below 0')
    check_length('Power.tail', self.tail, zero=True)
    check_end('Power.end', self.end, self.peak)
    good = self.tail != 0 or self.end == 0
    expected = 'is not used, as there is no tail to end there'
    require(good, 'Power.end', self.end, expected)

  @property
  def annealed(self) -> bool:
    """Whether there is a tail."""
    return self.tail != 0

  def make(self, horizon: Horizon) -> Curve:
    """See `base.Schedule`."""
    peak, ramp = self._warm_up(horizon)
    rest = self._rest(horizon, 'warmup', 'tail', least=1)
    warmup = self._steps(horizon, 'warmup')
    fall = pieces.power(rest, peak, self.exponent, warmup)
    if not self.annealed:
      return Curve((*ramp, fall))
    reached = float(fall(rest))
    check_end('Power.end', self.end, reached)
    tail = pieces.linear(self._steps(horizon, 'tail'), reached, self.end)
    return Curve((*ramp, fall, tail))
