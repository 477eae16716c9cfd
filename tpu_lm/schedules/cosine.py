"""Cosine decay, and re-warmed cosine decay."""

import dataclasses

from tpu_lm.schedules import pieces
from tpu_lm.schedules.base import Curve, Horizon, check_end
from tpu_lm.schedules.warmed import Warmed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cosine(Warmed):
  """A warm-up, then half a cosine wave from `peak` to `end`.

  After W warm-up steps of T in all,
    rate(n) = end + (peak - end) (1 + cos(pi (n - W) / (T - W))) / 2
  (Loshchilov and Hutter 2017, arXiv 1608.03983, eq. 5; the usual end is a
  tenth of the peak).

  `Cosine(start='parent', ...)` is the re-warmed and re-decayed cosine of
  continual pretraining: up from the rate the parent ended at to the peak of
  its pretraining, and down again (Ibrahim et al. 2024, arXiv 2403.08763,
  section 4; warm-up over 1 % of the phase).

  Attributes:
    end: the last step's rate.
  """

  end: float

  def __post_init__(self):
    super().__post_init__()
    check_end('Cosine.end', self.end, self.peak)

  @property
  def annealed(self) -> bool:
    """Yes."""
    return True

  def make(self, horizon: Horizon) -> Curve:
    """See `base.Schedule`."""
    peak, ramp = self._warm_up(horizon)
    check_end('Cosine.end', self.end, peak)
    rest = self._rest(horizon, 'warmup', least=1)
    return Curve((*ramp, pieces.cosine(rest, peak, self.end)))
