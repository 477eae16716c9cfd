"""Linear decay."""

import dataclasses

from tpu_lm.schedules import pieces
from tpu_lm.schedules.base import Curve, Horizon, check_end
from tpu_lm.schedules.warmed import Warmed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear(Warmed):
  """A warm-up, then a straight line from `peak` to `end`.

  With end = 0 the last step has a rate of 0 and changes nothing. As the
  annealing branch of a trunk: `Linear(peak='parent', warmup=0)`.

  Attributes:
    end: the last step's rate.
  """

  end: float = 0.0

  def __post_init__(self):
    super().__post_init__()
    check_end('Linear.end', self.end, self.peak)

  @property
  def annealed(self) -> bool:
    """Yes."""
    return True

  def make(self, horizon: Horizon) -> Curve:
    """See `base.Schedule`."""
    peak, ramp = self._warm_up(horizon)
    check_end('Linear.end', self.end, peak)
    rest = self._rest(horizon, 'warmup', least=1)
    return Curve((*ramp, pieces.linear(rest, peak, self.end)))
