"""What schedules that warm up have in common."""

import dataclasses

from tpu_lm.checks import is_number, require
from tpu_lm.schedules import pieces
from tpu_lm.schedules.base import (
  Horizon,
  Length,
  Piece,
  Rate,
  check_length,
  check_rate,
  length_in_steps,
  resolve_positive_rate,
  resolve_rate,
  steps_left,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Warmed:
  """A linear ramp from `start` to `peak`; what follows is up to the schedule.

  Attributes:
    peak: the rate that the warm-up reaches. 'parent' goes on at the parent's
      rate, and then there is nothing to warm up to.
    warmup: length of the ramp, the int 0 for none.
    start: the rate that the ramp comes from; 'parent' re-warms from where the
      parent ended.
  """

  peak: Rate
  warmup: Length = 0.01
  start: Rate = 0.0

  def __post_init__(self):
    check_rate(self._key('peak'), self.peak)
    check_length(self._key('warmup'), self.warmup, zero=True)
    good = self.start == 'parent' or (is_number(self.start) and self.start >= 0)
    expected = "must be a number at least 0, or 'parent'"
    require(good, self._key('start'), self.start, expected)
    good = self.warmup != 0 or self.start == 0
    expected = 'is not used, as there is no warmup to start'
    require(good, self._key('start'), self.start, expected)
    good = self.warmup == 0 or self.peak != 'parent'
    expected = "must be 0 where peak is 'parent': the rate is there already"
    require(good, self._key('warmup'), self.warmup, expected)

  def _key(self, field: str) -> str:
    return f'{type(self).__name__}.{field}'

  def _steps(self, horizon: Horizon, field: str) -> int:
    """The length `field` in steps."""
    return length_in_steps(getattr(self, field), horizon, self._key(field))

  def _rest(self, horizon: Horizon, *fields: str, least: int = 0) -> int:
    """Steps that the lengths `fields` leave of the phase."""
    taken = {self._key(field): self._steps(horizon, field) for field in fields}
    return steps_left(horizon, taken, least)

  def _warm_up(self, horizon: Horizon) -> tuple[float, tuple[Piece, ...]]:
    """The peak, and the pieces (one or none) that lead to it."""
    peak = resolve_positive_rate(self.peak, horizon, self._key('peak'))
    if self.warmup == 0:
      return peak, ()
    start = resolve_rate(self.start, horizon, self._key('start'))
    steps = self._steps(horizon, 'warmup')
    return peak, (pieces.linear(steps, start, peak),)
