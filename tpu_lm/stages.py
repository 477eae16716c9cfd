"""The tree of a run laid out: where each phase starts, and from what."""

import contextlib
import dataclasses
import pathlib
from typing import Any

from tpu_lm.checkpoint import Checkpoints
from tpu_lm.checkpoint_folder import Damaged
from tpu_lm.checks import UserError, nearest
from tpu_lm.data.ledger import REPLAY
from tpu_lm.data.weights import describe as weights_in_words
from tpu_lm.lineage import (
  DONE,
  Lineage,
  Parent,
  definition,
  differences,
  read_lineage,
  with_defaults,
  write_json,
)
from tpu_lm.phase import Phase, Run
from tpu_lm.processes import primary
from tpu_lm.schedules.base import Curve


@dataclasses.dataclass(frozen=True)
class Stage:
  """A phase in its place in the tree.

  Attributes:
    phase: as configured.
    folder: where its lineage and checkpoints are.
    curve: its learning rate.
    saved: the lineage of its newest checkpoint, if it has one.
    parent: where it begins; None for random weights.
    parent_folder: the parent's folder.
    start_tokens: tokens along the lineage before it.
    ancestors: names of the phases above it, the first one first.
    inherited: sources that phases not configured here have read before it.
  """

  phase: Phase
  folder: pathlib.Path
  curve: Curve
  saved: Lineage | None
  parent: Parent | None = None
  parent_folder: pathlib.Path | None = None
  start_tokens: int = 0
  ancestors: tuple[str, ...] = ()
  inherited: tuple[str, ...] = ()

  @property
  def saves(self) -> pathlib.Path:
    """The folder of its checkpoints."""
    return self.folder / 'checkpoints'

  def saves_at(self, step: int) -> bool:
    """Whether it is saved at a step of the lineage, if nothing stops it."""
    regular = (step - self.start_step) % self.phase.save_every == 0
    return regular or step == self.end_step

  @property
  def start_step(self) -> int:
    """Steps along the lineage before it."""
    return self.parent.step if self.parent else 0

  @property
  def end_step(self) -> int:
    """Steps along the lineage at its end."""
    return self.start_step + self.phase.steps

  @property
  def end_tokens(self) -> int:
    """Tokens along the lineage at its end."""
    return self.start_tokens + self.phase.steps * self.phase.tokens_per_step

  def place(self, taken: int) -> tuple[int, int]:
    """(step, tokens) along the lineage after `taken` steps of the phase."""
    tokens = taken * self.phase.tokens_per_step
    return self.start_step + taken, self.start_tokens + tokens

  @property
  def done(self) -> bool:
    """Whether it was trained to its end."""
    return self.saved is not None and self.saved.status == DONE

  @property
  def steps_done(self) -> int:
    """How many of its steps its newest checkpoint holds."""
    return 0 if self.saved is None else self.saved.end_step - self.start_step


def lay_out(run: Run, run_dir: pathlib.Path) -> list[Stage]:
  """The stages of a run, in order, with what is already trained of each.

  Raises:
    UserError: a phase was trained under another definition, or a parent is
      not there.
  """
  stages: dict[str, Stage] = {}
  for phase in run.phases:
    folder = run_dir / 'phases' / phase.name
    saved = newest_lineage(folder)
    if saved is not None:
      _check_same(phase, saved, folder)
    place = _place(phase, folder, saved, stages)
    if phase.name in place.get('ancestors', ()):
      raise UserError(
        f'Phase.name = {phase.name!r}: a phase above it has that name already'
      )
    parent = place.get('parent')
    curve = phase.curve(parent.learning_rate if parent else None)
    stages[phase.name] = Stage(phase, folder, curve, saved, **place)
  return list(stages.values())


def newest_lineage(folder: pathlib.Path) -> Lineage | None:
  """The lineage of the newest checkpoint in a phase's folder."""
  checkpoints = Checkpoints(folder / 'checkpoints')
  steps = checkpoints.steps()
  return _lineage(checkpoints, steps[-1]) if steps else None


def vouched_steps(run_dir: pathlib.Path) -> dict[str, int]:
  """The step of the newest checkpoint of every phase in a run folder.

  Of phases that are not configured now as well: a branch may be trained into
  the folder by a file that names it alone. Damaged ones vouch for nothing: when
  their phase goes on, it does from the one before.
  """
  found = {}
  for folder in run_dir.glob('phases/*'):
    checkpoints = Checkpoints(folder / 'checkpoints')
    for step in reversed(checkpoints.steps()):
      with contextlib.suppress(Damaged):
        lineage = _lineage(checkpoints, step)
        found[lineage.phase] = lineage.end_step
        break
  return found


def write_lineage(stage: Stage, lineage: Lineage) -> None:
  """Puts a phase's lineage beside its checkpoints."""
  if primary():
    write_json(stage.folder / 'lineage.json', lineage.to_json())


def _lineage(checkpoints: Checkpoints, step: int) -> Lineage:
  return Lineage.from_json(checkpoints.record(step)['lineage'])


def _place(
  phase: Phase,
  folder: pathlib.Path,
  saved: Lineage | None,
  stages: dict[str, Stage],
) -> dict[str, Any]:
  """The fields of a `Stage` that say what lies above it."""
  if phase.parent is None:
    return {}
  if above := stages.get(phase.parent):
    rate = above.curve.last_rate
    return {
      'parent': Parent(phase.parent, above.end_step, rate),
      'parent_folder': above.folder,
      'start_tokens': above.end_tokens,
      'ancestors': (*above.ancestors, phase.parent),
      'inherited': above.inherited,
    }
  if saved is not None:
    # The parent may have gone on since, or be gone: what was recorded holds.
    path = saved.parent.path or folder.parent / saved.parent.phase
    return {
      'parent': saved.parent,
      'parent_folder': pathlib.Path(path),
      'start_tokens': saved.start_tokens,
      'ancestors': tuple(saved.ancestors),
      'inherited': _sources(saved.entry_ledger),
    }
  parent_folder = folder.parent / phase.parent  # in this run folder, or
  if not parent_folder.is_dir():
    parent_folder = pathlib.Path(phase.parent).expanduser()
  inside = parent_folder.resolve().parent == folder.parent.resolve()
  checkpoints = Checkpoints(parent_folder / 'checkpoints')
  steps = checkpoints.steps()
  if not steps:
    raise UserError(
      f'Phase.parent = {phase.parent!r} of phase {phase.name!r}: is neither an '
      'earlier phase of this run nor a folder of a phase with a checkpoint.'
      f'{nearest(phase.parent, stages)}'
    )
  chosen = _chosen_before(folder)
  lineage = _lineage(checkpoints, chosen if chosen in steps else steps[-1])
  return {
    'parent': Parent(
      lineage.phase,
      lineage.end_step,
      lineage.learning_rate,
      None if inside else str(parent_folder),
    ),
    'parent_folder': parent_folder,
    'start_tokens': lineage.end_tokens,
    'ancestors': (*lineage.ancestors, lineage.phase),
    'inherited': _sources(lineage.ledger),
  }


def _chosen_before(folder: pathlib.Path) -> int | None:
  """The parent's step that a phase without a checkpoint yet had begun from."""
  path = folder / 'lineage.json'
  if not path.is_file():
    return None
  lineage = read_lineage(path)
  return lineage.parent.step if lineage.parent else None


def _sources(ledger: dict) -> tuple[str, ...]:
  return tuple(dict.fromkeys(n.removeprefix(REPLAY) for n in ledger['tokens']))


def _check_same(phase: Phase, saved: Lineage, folder: pathlib.Path) -> None:
  """A phase goes on only under the definition that it began with.

  But with another guard, if need be: it may be what lets it go on.
  """
  was = with_defaults(saved.definition, phase)
  now = definition(phase)
  lines = differences({**was, 'guard': now['guard']}, now)
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
    weights = weights_in_words(phase.mixture.weights)
    replay = phase.mixture.replay
    shown = f', replay {replay.fraction:.0%}' if replay else ''
    lines.append(
      f'  {name:32} {phase.kind:8} steps {stage.start_step:,} to '
      f'{stage.end_step:,}, {tokens:,} tokens of {weights}{shown}; '
      f'learning rate {first:.2e} to {stage.curve.last_rate:.2e}'
      f'{", done" if stage.done else ""}'
    )
  return '\n'.join(lines)
