"""Everything that can be checked of a run before its folder is touched."""

import functools
import pathlib
import sys
from collections.abc import Mapping

import jax
import numpy as np

from tpu_lm import plan, run_folder
from tpu_lm.checkpoint import Checkpoints
from tpu_lm.checks import UserError, nearest, require
from tpu_lm.data.layout import Layout
from tpu_lm.data.opened import settled, tasks_of
from tpu_lm.data.rows import open_rows
from tpu_lm.feeding import check_rows
from tpu_lm.optimizers.carry import carry
from tpu_lm.phase import Phase, Run
from tpu_lm.stages import Stage, lay_out
from tpu_lm.tree import Tree, count, named_paths


def check(run: Run, run_dir: pathlib.Path) -> list[Stage]:
  """Lays a run out and checks all but its data.

  Raises:
    UserError: the first thing that doesn't fit.
  """
  _check_profile(run)
  mesh = run.mesh.make()
  run_folder.check_identity(run, run_dir)
  stages = lay_out(run, run_dir)
  params = jax.eval_shape(run.model.init, jax.random.key(0))
  for stage in stages:
    phase = stage.phase
    rows = phase.batch_size // phase.micro_batches
    check_rows(mesh, phase.batch_size, 'Phase.batch_size')
    check_rows(mesh, rows, 'Phase.batch_size / Phase.micro_batches')
    for method in phase.methods:  # patterns that match nothing show here
      slot = jax.eval_shape(method.init, params)
      jax.eval_shape(method.grads, params, params, slot)
    _check_shapes(run.model, Layout.of(phase, run.model))
    _check_entry(run, stage, stages, params)
    _check_replay(stage, stages)
  return stages


def prepare(run: Run, run_dir: pathlib.Path) -> list[Stage]:
  """Checks all of a run; builds the token stores that are missing.

  Raises:
    UserError: the first thing that doesn't fit.
  """
  stages = check(run, run_dir)
  for stage in stages:
    for source in sources_of(run, stage.phase):
      _check_store(run, stage.phase, source, 'train')
    evaluated = sources_evaluated(run, stages, stage)
    for source in evaluated:
      _check_store(run, stage.phase, source, 'validation')
    _check_noise_names(stage.phase, [*sources_of(run, stage.phase), *evaluated])
    lost = sorted(set(stage.inherited) - set(evaluated))
    if lost and not stage.phase.evaluate.sources:
      print(
        f'note: the parent of {stage.phase.name} had read {", ".join(lost)}, '
        'which this corpus does not know: what it forgets of that is not seen',
        file=sys.stderr,
      )
    for measure in stage.phase.evaluate.final:
      measure.check(run)
  _check_best(run, stages)
  plan.foresee(run, stages)
  return stages


def sources_of(run: Run, phase: Phase) -> list[str]:
  """Names of the tasks that a phase reads, replays left aside."""
  return tasks_of(run.corpus, phase.mixture)


def sources_evaluated(run: Run, stages: list[Stage], stage: Stage) -> list[str]:
  """Names of the tasks that a phase is evaluated on.

  Unless the phase names them: all that the run reads, and what a parent
  outside the run had read, as far as this corpus knows it.
  """

  def known(name: str) -> bool:
    try:
      run.corpus.open(name, 'validation')
    except UserError:
      return False
    return True

  if stage.phase.evaluate.sources:
    return list(stage.phase.evaluate.sources)
  read = [name for other in stages for name in sources_of(run, other.phase)]
  return list(dict.fromkeys([*read, *filter(known, stage.inherited)]))


def _check_store(run: Run, phase: Phase, source: str, split: str) -> None:
  store = run.corpus.open(source, split)
  layout = settled(run.corpus, phase.mixture, Layout.of(phase, run.model))
  noiser = phase.mixture.noise_of(source, store.manifest.whole)
  special = run.corpus.special_tokens
  rows = open_rows(store, layout, run.seed, source, noiser, special)
  rows.read(np.arange(1))  # what the noise lacks shows here
  size, vocabulary = rows.vocabulary_size, run.model.vocabulary
  if size > vocabulary:
    more = size - store.vocabulary_size
    raise UserError(
      f'model vocabulary = {vocabulary}: {source} has {size} token ids'
      + (f', {more} of them special tokens of its noise' if more else '')
    )


def _check_best(run: Run, stages: list[Stage]) -> None:
  """The metric that decides what is kept must be one that is measured."""
  best, prefix = run.checkpoints.best, 'validation/loss/'
  if best is None:
    return
  evaluated = (sources_evaluated(run, stages, stage) for stage in stages)
  known = [prefix + source for sources in evaluated for source in sources]
  if best.startswith(prefix) and best not in known:
    raise UserError(
      f'Retention.best = {best!r}: is not measured.{nearest(best, known)}'
    )
  for stage in stages:
    phase = stage.phase
    saves = range(phase.save_every, phase.steps, phase.save_every)
    if saves and not any(map(phase.evaluate.due, saves)):
      print(
        f'note: Retention.best: {phase.name} is never evaluated where it is'
        f' saved, every {phase.save_every} steps, but at its end',
        file=sys.stderr,
      )


def _check_profile(run: Run) -> None:
  profile = run.profile
  by_name = {phase.name: phase for phase in run.phases}
  if profile is None:
    return
  hint = f'is no phase of this run.{nearest(profile.phase, by_name)}'
  require(profile.phase in by_name, 'Profile.phase', profile.phase, hint)
  steps = by_name[profile.phase].steps
  must = f'must leave steps to profile of the {steps} of the phase'
  require(profile.first < steps, 'Profile.first', profile.first, must)


@functools.cache
def _check_shapes(model, layout: Layout) -> None:
  """Runs a model on shapes alone: rows longer than its positions show here."""
  params = jax.eval_shape(model.init, jax.random.key(0))
  jax.eval_shape(model.apply, params, layout.empty())


def _check_noise_names(phase: Phase, known: list[str]) -> None:
  noise = phase.mixture.noise
  for name in noise if isinstance(noise, Mapping) else ():
    if name not in known:
      raise UserError(
        f'Mixture.noise[{name!r}] of {phase.name!r}: is for nothing that is'
        f' read or evaluated.{nearest(name, known)}'
      )


def _check_entry(
  run: Run, stage: Stage, stages: list[Stage], params: Tree
) -> None:
  """The parent's weights and optimizer state must be what the phase takes."""
  phase, axes = stage.phase, run.model.axes()
  fresh = jax.eval_shape(phase.optimizer.make(axes).init, params)
  if phase.warm_start is not None:
    _check_warm_start(stage, params)
    return
  if stage.saved is not None or stage.parent is None:
    return
  configured = {other.phase.name: other.phase for other in stages}
  above = configured.get(stage.parent.phase)
  if above is not None and stage.parent.path is None:
    before = jax.eval_shape(above.optimizer.make(axes).init, params)
    jax.eval_shape(
      lambda parent, state: carry(phase.optimizer_state, parent, state),
      before,
      fresh,
    )
    return
  wanted = {'params': params}
  if phase.optimizer_state != 'reset' and jax.tree.leaves(fresh):
    wanted['optimizer'] = fresh
  checkpoints = Checkpoints(stage.parent_folder / 'checkpoints')
  checkpoints.check(stage.parent.step, wanted)


def _check_warm_start(stage: Stage, params: Tree) -> None:
  """A warm start needs a parent of another run, and says what it takes."""
  phase = stage.phase
  if stage.saved is not None:
    return
  if stage.parent is None or stage.parent.path is None:
    raise UserError(
      f'Phase.warm_start of {phase.name!r}: is for a parent with another model,'
      ' whose folder Phase.parent names; here'
      + (' there is no parent' if stage.parent is None else ' it is the same')
    )
  if phase.optimizer_state != 'reset':
    raise UserError(
      f"Phase.optimizer_state = {phase.optimizer_state!r}: must be 'reset' with"
      ' a warm start'
    )
  checkpoints = Checkpoints(stage.parent_folder / 'checkpoints')
  saved = checkpoints.shapes(stage.parent.step, 'params')
  pairs = phase.warm_start.pairs(params, saved)
  own = named_paths(params)
  taken = sum(own[name].size for name in pairs)
  rest = ', '.join(sorted(set(own) - set(pairs)))
  print(
    f'{phase.name}: {taken:,} of {count(params):,} parameters come from'
    f' {stage.parent.path}'
    + (f', the others are fresh: {rest}' if rest else ''),
    file=sys.stderr,
  )


def _check_replay(stage: Stage, stages: list[Stage]) -> None:
  """What a replay asks for must be above it in the tree."""
  phase, replay = stage.phase, stage.phase.mixture.replay
  if replay is None:
    return
  if replay.phase is not None and replay.phase not in stage.ancestors:
    raise UserError(
      f'Replay.phase = {replay.phase!r}: is no phase above {phase.name!r}.'
      f'{nearest(replay.phase, stage.ancestors)}'
    )
  configured = {other.phase.name: other.phase for other in stages}
  above = [configured.get(name) for name in stage.ancestors]
  if None in above or replay.order == 'unseen':
    return  # what was read outside is known when the phase begins
  lengths = sorted({other.sequence_length for other in above})
  if phase.sequence_length not in lengths:
    raise UserError(
      f'Phase.sequence_length = {phase.sequence_length} of {phase.name!r}: the '
      f'rows to replay were read at {lengths}; replay works row by row'
    )
