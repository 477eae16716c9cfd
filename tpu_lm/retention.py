"""Which checkpoints of a phase are kept."""

import dataclasses
from collections.abc import Mapping, Sequence

from tpu_lm.checks import check_counts, is_number, require

WHEN_DAMAGED = ('fall_back', 'stop')


@dataclasses.dataclass(frozen=True)
class Retention:
  """Which checkpoints of a phase are kept, and what if one is damaged.

  The newest is kept in any case. So the end of every phase is: what its
  children begin from, and where a trunk goes on. So is whatever is pinned
  (`tpu-lm checkpoints --pin`). It may be changed in the middle of a run.

  Attributes:
    last: how many of the newest are kept, beside those of stops.
    every: a checkpoint whose step along the lineage is a multiple is kept for
      ever, if `Phase.save_every` makes one; None: none is.
    best: name of a value of the evaluations, such as 'validation/loss/prose'.
      Of the checkpoints at whose step it was measured, that with the lowest
      value is kept; None: none is.
    highest: the highest instead.
    when_damaged: 'fall_back': a damaged checkpoint is set aside, and the phase
      goes on from the one before it. 'stop': it is an error.
  """

  last: int = 2
  every: int | None = None
  best: str | None = None
  highest: bool = False
  when_damaged: str = 'fall_back'

  def __post_init__(self):
    check_counts('Retention', self, ('last',))
    if self.every is not None:
      check_counts('Retention', self, ('every',))
    good = self.best is None or isinstance(self.best, str)
    require(good, 'Retention.best', self.best, 'must be the name of a metric')
    good = type(self.highest) is bool
    require(good, 'Retention.highest', self.highest, 'must be a bool')
    must = f'must be one of {", ".join(WHEN_DAMAGED)}'
    good = self.when_damaged in WHEN_DAMAGED
    require(good, 'Retention.when_damaged', self.when_damaged, must)

  def dropped(
    self,
    steps: Sequence[int],
    regular: Sequence[int],
    metrics: Mapping[int, Mapping[str, float]],
  ) -> list[int]:
    """Which of the checkpoints to delete.

    Args:
      steps: of all checkpoints, ascending.
      regular: those of them that every course of the run has. Where it was
        stopped it has others too; they take no regular one's place, so that
        what a guard can roll back to does not depend on stops.
      metrics: what was measured at them, by step and name, as far as it is
        known.
    """
    kept = {*steps[-1:], *regular[-self.last :]}
    if self.every is not None:
      kept |= {step for step in steps if step % self.every == 0}
    if self.best is not None:
      measured = {step: metrics.get(step, {}).get(self.best) for step in steps}
      measured = {s: value for s, value in measured.items() if is_number(value)}
      if measured:
        choose = max if self.highest else min
        kept.add(choose(measured, key=measured.get))
    return [step for step in steps if step not in kept]
