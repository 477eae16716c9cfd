"""What the phases of a run will read, worked out before anything is trained."""

import dataclasses
from collections.abc import Mapping, Sequence

from tpu_lm.data.ledger import Ledger
from tpu_lm.data.supply import Exhausted
from tpu_lm.entry import Ledgers, make_builder, read_ledgers
from tpu_lm.phase import Run
from tpu_lm.stages import Stage


@dataclasses.dataclass(frozen=True)
class Reading:
  """What one phase reads.

  Attributes:
    ledgers: of its ancestors, at its entry, and where it goes on from now.
    end: the ledger at its end; of what is still to be trained, by shares
      alone, its rows right to within a row or two for each change of weights.
    rows_per_epoch: of each source it draws from, replays left aside; empty
      for a phase that is done.
  """

  ledgers: Ledgers
  end: Ledger
  rows_per_epoch: Mapping[str, int]


def foresee(run: Run, stages: Sequence[Stage]) -> dict[str, Reading]:
  """Works out what each phase reads, a child's on top of its parent's.

  Opens the stores, and builds those that are missing.

  Args:
    run: the run.
    stages: its phases, as `stages.lay_out` gives them.

  Returns:
    Name of a phase to what it reads.

  Raises:
    UserError: as `BatchBuilder`.
    Exhausted: a source that may not be read again will run out.
  """
  readings: dict[str, Reading] = {}
  for stage in stages:
    phase, ledgers = stage.phase, _ledgers(run, stage, readings)
    if stage.done:
      readings[phase.name] = Reading(ledgers, ledgers.now, {})
      continue
    builder = make_builder(run, phase, ledgers)
    try:
      end = builder.foresee(stage.steps_done, ledgers.now)
    except Exhausted as error:
      raise Exhausted(f'phase {phase.name!r}: {error}') from None
    readings[phase.name] = Reading(ledgers, end, builder.rows_per_epoch)
  return readings


def _ledgers(
  run: Run, stage: Stage, readings: Mapping[str, Reading]
) -> Ledgers:
  """Read from checkpoints, or foreseen where a parent is not trained yet."""
  parent = stage.parent
  inside = parent is not None and parent.path is None
  if stage.saved or not inside or parent.phase not in readings:
    return read_ledgers(run, stage)
  above = readings[parent.phase]
  own = above.ledgers.entry, above.end
  ancestors = {**above.ledgers.ancestors, parent.phase: own}
  return Ledgers(ancestors, above.end, above.end)
