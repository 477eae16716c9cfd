"""Inverse square root decay."""

import dataclasses

from tpu_lm.checks import require
from tpu_lm.schedules import pieces
from tpu_lm.schedules.base import (
  Curve,
  Horizon,
  Length,
  check_length,
)
from tpu_lm.schedules.warmed import Warmed


@dataclasses.dataclass(frozen=True, kw_only=True)
class InverseSquareRoot(Warmed):
  """A warm-up, then decay with the square root of the time; leaves a trunk.

  After W warm-up steps, rate(n) = peak / sqrt(1 + (n - W) / timescale).
  With timescale = W, its default, this is peak sqrt(W / n) (Vaswani et al.
  2017, arXiv 1706.03762, eq. 3).

  Attributes:
    timescale: steps after which the rate has fallen to peak / sqrt(2); None
      takes the length of the warm-up.
  """

  timescale: Length | None = None

  def __post_init__(self):
    super().__post_init__()
    key = 'InverseSquareRoot.timescale'
    if self.timescale is None:
      expected = 'must be given where there is no warmup to take it from'
      require(self.warmup != 0, key, None, expected)
    else:
      check_length(key, self.timescale)

  @property
  def annealed(self) -> bool:
    """No: training may go on from its end."""
    return False

  def make(self, horizon: Horizon) -> Curve:
    """See `base.Schedule`."""
    peak, ramp = self._warm_up(horizon)
    field = 'warmup' if self.timescale is None else 'timescale'
    timescale = self._steps(horizon, field)
    rest = self._rest(horizon, 'warmup', least=1)
    return Curve((*ramp, pieces.power(rest, peak, -0.5, timescale)))
