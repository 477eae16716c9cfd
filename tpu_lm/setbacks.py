"""Steps that went bad and checkpoints that are damaged: how a run goes on."""

import dataclasses
import json
import pathlib
import sys

from tpu_lm import run_folder
from tpu_lm.checkpoint import Checkpoints
from tpu_lm.checkpoint_folder import Damaged
from tpu_lm.checks import UserError
from tpu_lm.data.ledger import Ledger, Skipped
from tpu_lm.guard import ROLL_BACK, STOP
from tpu_lm.lineage import Lineage
from tpu_lm.phase import Run
from tpu_lm.processes import from_primary, gather, primary
from tpu_lm.stages import Stage
from tpu_lm.step_reports import BadStep, Stopped


class RolledBack(Exception):
  """A phase has to go on from an earlier step.

  Attributes:
    stage: the phase in its place.
    step: along the lineage.
    ledger: to go on with, past the rows that are skipped.
  """

  def __init__(self, stage: Stage, step: int, ledger: Ledger):
    super().__init__(f'phase {stage.phase.name!r} goes back to step {step}')
    self.stage, self.step, self.ledger = stage, step, ledger


def checkpoints_of(run: Run, stage: Stage) -> Checkpoints:
  """The checkpoints of a phase, kept as the run says."""
  return Checkpoints(stage.saves, run.checkpoints, stage.saves_at)


def met(stage: Stage, bad: BadStep, ledgers: tuple[Ledger, Ledger]) -> Ledger:
  """What becomes of a run that has met a bad step.

  Args:
    stage: the phase in its place.
    bad: the step.
    ledgers: at the phase's entry, and now.

  Returns:
    The ledger to go on with, if only that step is skipped.

  Raises:
    Stopped: so it is configured, or there were too many.
    RolledBack: so it is configured.
  """
  phase, step = stage.phase, stage.start_step + bad.taken
  entry, now = ledgers
  told = f'{phase.name}, step {step}: {bad.why}'
  before = sum(
    one.phase == phase.name and one.step > step - phase.guard.window
    for one in now.skipped
  )
  if bad.policy == STOP or before >= phase.guard.most:
    often = f', after {before} bad steps shortly before it' if before else ''
    raise Stopped(
      f'{told}{often}. Nothing of it was saved: look at the data, set'
      ' Phase.guard otherwise, or begin a phase with a lower learning rate'
    )
  if bad.policy != ROLL_BACK:
    _say(f'{told}; skipped')
    spoilt = Skipped.between(
      bad.before, bad.after, phase.name, step, None, bad.why
    )
    return dataclasses.replace(now, skipped=(*now.skipped, spoilt))
  back, then = _place_to_go_back_to(stage, step - phase.guard.back, entry)
  _say(f'{told}; back to step {back}, and past what was read since')
  spoilt = Skipped.between(then, bad.after, phase.name, step, back, bad.why)
  skipped = (*now.skipped, spoilt)
  raise RolledBack(stage, back, dataclasses.replace(bad.after, skipped=skipped))


def overcome(
  run: Run, run_dir: pathlib.Path, error: Exception, resume: dict[str, Ledger]
) -> None:
  """Makes the folder ready to be trained in again after a setback.

  Args:
    run: the run.
    run_dir: its folder.
    error: what ended the training.
    resume: the ledger to go on with, by phase; added to.

  Raises:
    Exception: `error`, if it is none that can be overcome.
  """
  # Of several processes each may have its own error, behind a common one.
  damaged = error if isinstance(error, Damaged) else error.__cause__
  if isinstance(error, RolledBack):
    with run_folder.locked(run_dir):
      _delete_after(error.stage, error.step)
    resume[error.stage.phase.name] = error.ledger
  elif isinstance(damaged, Damaged) and _may_fall_back(run, run_dir, damaged):
    checkpoints = Checkpoints(damaged.directory)
    left = [step for step in checkpoints.steps() if step < damaged.step]
    if not left:
      raise UserError(
        f'{damaged}, and no other is left to go on from: delete'
        f' {damaged.directory} to train the phase from its beginning'
      ) from error
    with run_folder.locked(run_dir):
      place = checkpoints.set_aside(damaged.step)
    resume.clear()  # it went on from there
    _say(f'{damaged}; set aside as {place.name}, going on from step {left[-1]}')
  else:
    raise error


def _place_to_go_back_to(
  stage: Stage, latest: int, entry: Ledger
) -> tuple[int, Ledger]:
  """A step that the phase can go back to, and the ledger there.

  Not one at which it was stopped: without the stop there would be none.
  """
  found = json.dumps((stage.start_step, entry.to_json()))
  checkpoints = Checkpoints(stage.saves)
  steps = list(filter(stage.saves_at, checkpoints.steps()))
  if steps and primary():  # the others may still see what it has deleted
    step = max((step for step in steps if step <= latest), default=steps[0])
    lineage = Lineage.from_json(checkpoints.record(step)['lineage'])
    found = json.dumps((step, lineage.ledger))
  step, ledger = json.loads(from_primary(found))
  return step, Ledger.from_json(ledger)


def _delete_after(stage: Stage, step: int) -> None:
  checkpoints = Checkpoints(stage.saves)
  for later in checkpoints.steps() if primary() else ():
    if later > step:
      checkpoints.delete(later)
      checkpoints.pin(later, False)  # another will have its name
  gather('')  # all wait for that


def _may_fall_back(run: Run, run_dir: pathlib.Path, damaged: Damaged) -> bool:
  """Not where a parent is damaged that this run does not train.

  Going on from another of its checkpoints would be another run.
  """
  own = [
    (run_dir / 'phases' / phase.name / 'checkpoints').absolute()
    for phase in run.phases
  ]
  return (
    run.checkpoints.when_damaged == 'fall_back' and damaged.directory in own
  )


def _say(line: str) -> None:
  if primary():
    print(line, file=sys.stderr, flush=True)
