"""Warm-up, stable, decay."""

import dataclasses

from tpu_lm.schedules import pieces
from tpu_lm.schedules.base import (
  Curve,
  Horizon,
  Length,
  check_choice,
  check_end,
  check_length,
)
from tpu_lm.schedules.warmed import Warmed

_SHAPES = {
  'linear': pieces.linear,
  'one_minus_sqrt': pieces.one_minus_sqrt,
  'exponential': pieces.exponential,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class WSD(Warmed):
  """A warm-up, `peak` for as long as there is, and a decay to `end`.

  Hu et al. 2024, arXiv 2404.06395. The shapes, with u from 0 to 1
  over the decay, as in Hägele et al. 2024, arXiv 2405.18392:

    linear          peak + (end - peak) u
    one_minus_sqrt  end + (peak - end) (1 - sqrt(u))
    exponential     peak (end / peak)^u, for which end must be above 0

  Attributes:
    end: the last step's rate.
    decay: length of the decay.
    shape: of the decay.
  """

  end: float = 0.0
  decay: Length = 0.1
  shape: str = 'linear'

  def __post_init__(self):
    super().__post_init__()
    check_choice('WSD.shape', self.shape, _SHAPES)
    check_length('WSD.decay', self.decay)
    self._check_end(self.peak)

  def _check_end(self, peak) -> None:
    check_end('WSD.end', self.end, peak, zero=self.shape != 'exponential')

  @property
  def annealed(self) -> bool:
    """Yes."""
    return True

  def make(self, horizon: Horizon) -> Curve:
    """See `base.Schedule`."""
    peak, ramp = self._warm_up(horizon)
    self._check_end(peak)
    stable = pieces.constant(self._rest(horizon, 'warmup', 'decay'), peak)
    decay = self._steps(horizon, 'decay')
    fall = _SHAPES[self.shape](decay, peak, self.end)
    return Curve((*ramp, stable, fall))
