"""The tree of a run laid out: where each phase starts, and from what.

Everything here is known before anything is trained, so mistakes are told
before the disk is touched.
"""

import dataclasses
import pathlib

from tpu_lm import run_folder
from tpu_lm.checkpoint import Checkpoints
from tpu_lm.checks import UserError
from tpu_lm.lineage import DONE, Lineage, Parent, definition, differences
from tpu_lm.phase import Phase, Run, outside
from tpu_lm.schedules.base import Curve
from tpu_lm.sharding import check_rows


@dataclasses.dataclass(frozen=True)
class Stage:
  """A phase in its place in the tree.

  Attributes:
    phase: as configured.
    folder: where its lineage and checkpoints are.
    parent: where it begins; None for random weights.
    parent_folder: the parent's folder.
    start_step: steps along the lineage before it.
    start_tokens: tokens along the lineage before it.
    curve: its learning rate.
    saved: the lineage of its newest checkpoint, if it has one.
    metrics_bytes: the part of metrics.jsonl that this checkpoint vouches for.
  """

  phase: Phase
  folder: pathlib.Path
  parent: Parent | None
  parent_folder: pathlib.Path | None
  start_step: int
  start_tokens: int
  curve: Curve
  saved: Lineage | None
  metrics_bytes: int

  @property
  def end_step(self) -> int:
    """Steps along the lineage at its end."""
    return self.start_step + self.phase.steps

  @property
  def end_tokens(self) -> int:
    """Tokens along the lineage at its end."""
    return self.start_tokens + self.phase.steps * self.phase.tokens_per_step

  @property
  def done(self) -> bool:
    """Whether it was trained to its end."""
    return self.saved is not None and self.saved.status == DONE

  @property
  def steps_done(self) -> int:
    """How many of its steps its newest checkpoint holds."""
    return 0 if self.saved is None else self.saved.end_step - self.start_step


def newest_record(folder: pathlib.Path) -> dict | None:
  """The record of a phase's newest checkpoint."""
  checkpoints = Checkpoints(folder / 'checkpoints')
  steps = checkpoints.steps()
  return checkpoints.record(steps[-1]) if steps else None


def prepare(run: Run, run_dir: pathlib.Path) -> list[Stage]:
  """Checks all that can be checked before a run touches its folder.

  Builds the token stores that are missing (they are not the run's own).

  Raises:
    UserError: the first thing that doesn't fit.
  """
  mesh = run.mesh.make()
  stages = lay_out(run, run_dir)
  run_folder.check_identity(run, run_dir)
  for phase in run.phases:
    rows = phase.batch_size // phase.micro_batches
    check_rows(mesh, phase.batch_size, 'Phase.batch_size')
    check_rows(mesh, rows, 'Phase.batch_size / Phase.micro_batches')
  vocabulary = run.model.vocabulary
  for source in sources_read(run):
    for split in ('train', 'validation'):
      size = run.corpus.open(source, split).vocabulary_size
      if size > vocabulary:
        raise UserError(
          f'model vocabulary = {vocabulary}: {source} has {size} token ids'
        )
  return stages


def sources_read(run: Run) -> list[str]:
  """Names of the tasks that any phase of the run reads, in order."""
  names: dict[str, None] = {}
  for phase in run.phases:
    mixture = phase.mixture
    for weights in (mixture.weights, *mixture.changes.values()):
      for name in weights:
        names.update(dict.fromkeys(run.corpus.expand(name)))
    names.update(dict.fromkeys(phase.evaluate.sources))
  return list(names)


def lay_out(run: Run, run_dir: pathlib.Path) -> list[Stage]:
  """The stages of a run, in order, with what is already trained of each.

  Raises:
    UserError: a phase was trained under another definition, or a parent has
      no checkpoint.
  """
  stages: dict[str, Stage] = {}
  for phase in run.phases:
    folder = run_dir / 'phases' / phase.name
    record = newest_record(folder)
    saved = Lineage.from_json(record['lineage']) if record else None
    if saved is not None:
      _check_same(phase, saved, folder)
    parent, parent_folder, tokens = _parent(phase, saved, stages)
    stages[phase.name] = Stage(
      phase=phase,
      folder=folder,
      parent=parent,
      parent_folder=parent_folder,
      start_step=parent.step if parent else 0,
      start_tokens=tokens,
      curve=phase.curve(parent.learning_rate if parent else None),
      saved=saved,
      metrics_bytes=record['metrics_bytes'] if record else 0,
    )
  return list(stages.values())


def _parent(phase: Phase, saved: Lineage | None, stages: dict[str, Stage]):
  """(parent, its folder, tokens along the lineage at its checkpoint)."""
  if phase.parent is None:
    return None, None, 0
  if phase.parent in stages:
    stage = stages[phase.parent]
    parent = Parent(phase.parent, stage.end_step, stage.curve.last_rate)
    return parent, stage.folder, stage.end_tokens
  folder = outside(phase.parent)
  if saved is not None:
    # The other run may have gone on since; this phase began where it began.
    return saved.parent, folder, saved.start_tokens
  record = newest_record(folder)
  if record is None:
    raise UserError(f'Phase.parent = {phase.parent!r}: has no checkpoint yet')
  lineage = Lineage.from_json(record['lineage'])
  parent = Parent(
    lineage.phase, lineage.end_step, lineage.learning_rate, str(folder)
  )
  return parent, folder, lineage.end_tokens


def _check_same(phase: Phase, saved: Lineage, folder: pathlib.Path) -> None:
  """A phase goes on only under the definition that it began with."""
  lines = differences(saved.definition, definition(phase))
  if lines:
    raise UserError(
      f'phase {phase.name!r} in {folder} was trained under another definition '
      f'({"; ".join(lines)}): give it back, or name a new phase with '
      f'parent = {phase.name!r}, or use another run_dir'
    )


def describe(run: Run, stages: list[Stage]) -> str:
  """The tree as text: a line a phase, indented under its parent."""
  depth: dict[str, int] = {}
  lines = [f'{run.name}: {len(stages)} phases']
  for stage in stages:
    phase, curve = stage.phase, stage.curve
    parent = stage.parent.phase if stage.parent else None
    depth[phase.name] = depth.get(parent, -1) + 1
    first = float(curve(0))
    name = '  ' * depth[phase.name] + phase.name
    tokens = phase.steps * phase.tokens_per_step
    weights = ', '.join(f'{k} {v:g}' for k, v in phase.mixture.weights.items())
    replay = phase.mixture.replay
    shown = f', replay {replay.fraction:.0%}' if replay else ''
    lines.append(
      f'  {name:32} {phase.kind:8} steps {stage.start_step:,} to '
      f'{stage.end_step:,}, {tokens:,} tokens of {weights}{shown}; '
      f'learning rate {first:.2e} to {stage.curve.last_rate:.2e}'
      f'{", done" if stage.done else ""}'
    )
  return '\n'.join(lines)
