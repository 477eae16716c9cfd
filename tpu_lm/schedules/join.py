"""Schedules one after another."""

import dataclasses

from tpu_lm.checks import require
from tpu_lm.schedules.base import (
  Curve,
  Horizon,
  Length,
  Schedule,
  check_length,
  length_in_steps,
  steps_left,
)


@dataclasses.dataclass(frozen=True)
class Join:
  """Parts in order, each built for its own length.

  A fraction inside a part is of that part, and 'parent' there is the last
  rate of the part before (of the first part: of the phase's parent).

  Attributes:
    parts: schedules, at least two.
    lengths: of all parts but the last, which takes the rest of the phase.
  """

  parts: tuple[Schedule, ...]
  lengths: tuple[Length, ...]

  def __post_init__(self):
    for field in ('parts', 'lengths'):
      value = getattr(self, field)
      good = isinstance(value, list | tuple)
      require(good, f'Join.{field}', value, 'must be a list')
      # gin gives lists; a frozen value should not hold one.
      object.__setattr__(self, field, tuple(value))
    require(
      len(self.parts) > 1, 'Join.parts', self.parts, 'must be two or more'
    )
    for index, part in enumerate(self.parts):
      good = hasattr(part, 'make') and hasattr(part, 'annealed')
      require(good, f'Join.parts[{index}]', part, 'is not a schedule')
    good = len(self.lengths) == len(self.parts) - 1
    expected = f'must be {len(self.parts) - 1}, one for each part but the last'
    require(good, 'Join.lengths', self.lengths, expected)
    for index, length in enumerate(self.lengths):
      check_length(f'Join.lengths[{index}]', length)

  @property
  def annealed(self) -> bool:
    """Whether its last part is."""
    return self.parts[-1].annealed

  def make(self, horizon: Horizon) -> Curve:
    """See `base.Schedule`."""
    taken = {}
    for index, length in enumerate(self.lengths):
      key = f'Join.lengths[{index}]'
      taken[key] = length_in_steps(length, horizon, key)
    steps = (*taken.values(), steps_left(horizon, taken, least=1))
    pieces, rate = [], horizon.parent_rate
    for part, length in zip(self.parts, steps, strict=True):
      curve = part.make(Horizon(length, horizon.tokens_per_step, rate))
      pieces += curve.pieces
      rate = curve.last_rate
    return Curve(tuple(pieces))
