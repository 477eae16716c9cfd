"""When a phase is evaluated, and on what."""

import dataclasses
from typing import Any

from tpu_lm.checks import check_all, check_counts, require


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate:
  """When and on what a phase is evaluated, besides its entry and its end.

  Attributes:
    sources: names of tasks; none means every source that the run reads.
    every: steps between evaluations.
    dense_every: the same while the phase is young: after a switch of data the
      loss on what was known before moves within a few steps.
    dense_until: the phase step at which the phase is no longer young.
    rows: held-out rows of each source.
    final: dataclasses of `evals/` with `check` and `__call__`, run once after
      the last step.
  """

  sources: tuple[str, ...] = ()
  every: int = 100
  dense_every: int = 10
  dense_until: int = 50
  rows: int = 32
  final: tuple[Any, ...] = ()

  def __post_init__(self):
    counts = ('every', 'dense_every', 'dense_until', 'rows')
    check_counts('Evaluate', self, counts)
    check_all('Evaluate.sources', self.sources, str, 'names of tasks')
    good = isinstance(self.final, tuple | list) and all(
      hasattr(one, 'check') and not isinstance(one, type) for one in self.final
    )
    require(good, 'Evaluate.final', self.final, 'must be of evals/')

  def due(self, phase_step: int) -> bool:
    """Whether to evaluate after this many steps of the phase."""
    young = phase_step <= self.dense_until
    return phase_step % (self.dense_every if young else self.every) == 0
