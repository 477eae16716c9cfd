"""The tree of a run laid out: where each phase starts, and from what.

Everything here is known before anything is trained, so mistakes are told
before the disk is touched.
"""

import dataclasses
import pathlib

import jax

from tpu_lm import run_folder
from tpu_lm.checkpoint import Checkpoints
from tpu_lm.checks import UserError, nearest
from tpu_lm.data.rows import Rows
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
  """

  phase: Phase
  folder: pathlib.Path
  parent: Parent | None
  parent_folder: pathlib.Path | None
  start_step: int
  start_tokens: int
  curve: Curve
  saved: Lineage | None

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


def vouched_bytes(run_dir: pathlib.Path) -> int:
  """How much of metrics.jsonl the checkpoints in a run folder vouch for.

  Those of every phase there count, not only of the phases configured now: a
  branch may be trained into the folder by a file that names it alone.
  """
  records = map(newest_record, run_dir.glob('phases/*'))
  return max((r['metrics_bytes'] for r in records if r), default=0)


def prepare(run: Run, run_dir: pathlib.Path) -> list[Stage]:
  """Checks all that can be checked before a run touches its folder.

  Builds the token stores that are missing (they are not the run's own).

  Raises:
    UserError: the first thing that doesn't fit.
  """
  mesh = run.mesh.make()
  stages = lay_out(run, run_dir)
  run_folder.check_identity(run, run_dir)
  axes = run.model.axes()
  params = jax.eval_shape(run.model.init, jax.random.key(0))
  for stage in stages:
    phase = stage.phase
    rows = phase.batch_size // phase.micro_batches
    check_rows(mesh, phase.batch_size, 'Phase.batch_size')
    check_rows(mesh, rows, 'Phase.batch_size / Phase.micro_batches')
    _check_replay(stage, stages)
    phase.optimizer.make(axes)
    for method in phase.methods:  # patterns that match nothing show here
      slot = jax.eval_shape(method.init, params)
      jax.eval_shape(method.grads, params, params, slot)
    for source in _sources_of(run, phase):
      for split in ('train', 'validation'):
        _check_store(run, phase, source, split)
  return stages


def sources_read(run: Run) -> list[str]:
  """Names of the tasks that any phase of the run reads, in order."""
  names: dict[str, None] = {}
  for phase in run.phases:
    names.update(dict.fromkeys(_sources_of(run, phase)))
  return list(names)


def _sources_of(run: Run, phase: Phase) -> list[str]:
  mixture = phase.mixture
  tasks = [
    task
    for weights in (mixture.weights, *mixture.changes.values())
    for name in weights
    for task in run.corpus.expand(name)
  ]
  return [*dict.fromkeys([*tasks, *phase.evaluate.sources])]


def _check_store(run: Run, phase: Phase, source: str, split: str) -> None:
  store = run.corpus.open(source, split)
  Rows(store, phase.sequence_length, run.seed, f'{source} ({split})')
  size, vocabulary = store.vocabulary_size, run.model.vocabulary
  if size > vocabulary:
    raise UserError(
      f'model vocabulary = {vocabulary}: {source} has {size} token ids'
    )


def _check_replay(stage: Stage, stages: list[Stage]) -> None:
  """What a replay asks for must be above it in the tree."""
  replay, places = stage.phase.mixture.replay, {s.phase.name: s for s in stages}
  if replay is None:
    return
  above = []
  while stage.parent is not None and stage.parent.phase in places:
    stage = places[stage.parent.phase]
    above.append(stage.phase.name)
  root = stage.parent is None  # else the rest is known when the phase begins
  if root and replay.phase is not None and replay.phase not in above:
    raise UserError(
      f'Replay.phase = {replay.phase!r}: is no ancestor of the phase.'
      f'{nearest(replay.phase, above)}'
    )


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
