"""Exponential decay: the usual annealing branch of a trunk."""

import dataclasses

from tpu_lm.schedules import pieces
from tpu_lm.schedules.base import (
  Curve,
  Horizon,
  Rate,
  check_end,
  check_rate,
  resolve_positive_rate,
)


@dataclasses.dataclass(frozen=True)
class Exponential:
  """From `start` to `end` by the same factor every step.

  Over T steps, rate(n) = start (end / start)^(n / T): the last phase of the
  infinite schedule, as a branch of its own (Singh et al. 2025, arXiv
  2503.02844).

  Attributes:
    end: the last step's rate, above 0.
    start: the rate it comes from.
  """

  end: float
  start: Rate = 'parent'

  def __post_init__(self):
    check_rate('Exponential.start', self.start)
    check_end('Exponential.end', self.end, self.start, zero=False)

  @property
  def annealed(self) -> bool:
    """Yes."""
    return True

  def make(self, horizon: Horizon) -> Curve:
    """See `base.Schedule`."""
    start = resolve_positive_rate(self.start, horizon, 'Exponential.start')
    check_end('Exponential.end', self.end, start, zero=False)
    return Curve((pieces.exponential(horizon.steps, start, self.end),))
