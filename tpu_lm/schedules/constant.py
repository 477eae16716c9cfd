"""A constant learning rate."""

import dataclasses

from tpu_lm.schedules import pieces
from tpu_lm.schedules.base import (
  Curve,
  Horizon,
  Rate,
  check_rate,
  resolve_positive_rate,
)


@dataclasses.dataclass(frozen=True)
class Constant:
  """One rate from the first step to the last; leaves a trunk.

  `Constant('parent')` takes new data in from an infinite schedule's trunk:
  the same rate, no warm-up (Singh et al. 2025, arXiv 2503.02844).

  Attributes:
    rate: the learning rate, or 'parent'.
  """

  rate: Rate

  def __post_init__(self):
    check_rate('Constant.rate', self.rate)

  @property
  def annealed(self) -> bool:
    """No: training may go on from its end."""
    return False

  def make(self, horizon: Horizon) -> Curve:
    """See `base.Schedule`."""
    rate = resolve_positive_rate(self.rate, horizon, 'Constant.rate')
    return Curve((pieces.constant(horizon.steps, rate),))
