"""How a phase begins: from random weights, a parent, or its own checkpoint."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tpu_lm.checkpoint import Checkpoints
from tpu_lm.data.batches import BatchBuilder
from tpu_lm.data.layout import Layout
from tpu_lm.data.ledger import Ledger
from tpu_lm.guard import slot_keepers
from tpu_lm.lineage import Lineage
from tpu_lm.optimizers.carry import carry
from tpu_lm.optimizers.offload import in_device_memory, placed
from tpu_lm.phase import Phase, Run
from tpu_lm.sharding import state_shardings
from tpu_lm.stages import Stage
from tpu_lm.state import TrainState, init_state
from tpu_lm.step import make_train_step
from tpu_lm.tree import Tree, map_named, named_paths, nested


@dataclasses.dataclass(frozen=True)
class Ledgers:
  """What was read before a phase, and so far.

  Attributes:
    ancestors: (entry, end) of each phase above, by name.
    entry: at this phase's entry.
    now: at the point from which it goes on.
  """

  ancestors: dict[str, tuple[Ledger, Ledger]]
  entry: Ledger
  now: Ledger


def read_ledgers(run: Run, stage: Stage) -> Ledgers:
  """The ledgers to go on with: as saved, as the parent's, or fresh."""
  saved, parent = stage.saved, stage.parent
  if saved is not None:
    entry = Ledger.from_json(saved.entry_ledger)
    return Ledgers(_parsed(saved), entry, Ledger.from_json(saved.ledger))
  if parent is None:
    fresh = Ledger(seed=run.seed)
    return Ledgers({}, fresh, fresh)
  record = _parent_checkpoints(stage).record(parent.step)
  lineage = Lineage.from_json(record['lineage'])
  end = Ledger.from_json(lineage.ledger)
  own = Ledger.from_json(lineage.entry_ledger), end
  return Ledgers({**_parsed(lineage), lineage.phase: own}, end, end)


def make_builder(
  run: Run, phase: Phase, ledgers: Ledgers, own: np.ndarray | None = None
) -> BatchBuilder:
  """What makes a phase's batches; `own` and errors as of `BatchBuilder`."""
  return BatchBuilder(
    run.corpus,
    phase.mixture,
    phase.batch_size,
    Layout.of(phase, run.model),
    ledgers.entry,
    ancestors=ledgers.ancestors,
    steps=phase.steps,
    own=own,
  )


def make_step(
  run: Run,
  stage: Stage,
  optimizer: optax.GradientTransformation,
  sources: int,
) -> Callable[[TrainState, dict], tuple[TrainState, dict]]:
  """The phase's train step, to be jitted.

  Args:
    run: the run.
    stage: the phase in its place.
    optimizer: the phase's, made.
    sources: number of series that `batch['source']` counts.
  """
  phase = stage.phase
  step = make_train_step(
    run.model,
    phase.objective,
    optimizer,
    stage.curve,
    start_step=stage.start_step,
    seed=run.seed,
    sources=sources,
    methods=phase.methods,
    micro_batches=phase.micro_batches,
  )
  return step if phase.guard is None else phase.guard.around(step)


def make_state(
  run: Run, stage: Stage, mesh, optimizer: optax.GradientTransformation
) -> tuple[TrainState, Tree]:
  """The state to go on from, and its shardings.

  Args:
    run: the run.
    stage: the phase in its place.
    mesh: the jax mesh.
    optimizer: the phase's, made.

  Raises:
    UserError: a checkpoint does not hold what this configuration makes.
  """
  methods, key = slot_keepers(stage.phase), jax.random.key(run.seed)

  def fresh() -> TrainState:
    return init_state(run.model, optimizer, methods, key)

  shapes = jax.eval_shape(fresh)
  shardings = state_shardings(mesh, run.model.axes(), shapes.params, shapes)
  shardings = placed(stage.phase.optimizer, shardings, shapes)
  target = jax.tree.map(
    lambda s, place: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place),
    shapes,
    shardings,
  )
  if stage.saved is not None:
    return _restored(stage, target), shardings
  if stage.parent is None:
    return jax.jit(fresh, out_shardings=shardings)(), shardings

  if stage.phase.warm_start is not None:
    taken = _taken(stage, target.params)

    def begin_warm(taken: dict[str, jax.Array]) -> TrainState:
      state = fresh()
      params = map_named(lambda name, own: taken.get(name, own), state.params)
      return dataclasses.replace(
        state,
        step=jnp.asarray(stage.start_step, jnp.int32),
        params=params,
        optimizer=optimizer.init(params),
        slots={method.name: method.init(params) for method in methods},
      )

    return jax.jit(begin_warm, out_shardings=shardings)(taken), shardings

  policy = stage.phase.optimizer_state
  wanted = {'params': target.params}
  if policy != 'reset' and jax.tree.leaves(target.optimizer):
    wanted['optimizer'] = target.optimizer
  loaded = _parent_checkpoints(stage).load(stage.parent.step, wanted)

  def begin(params: Tree, before: Tree | None) -> TrainState:
    state = optimizer.init(params)
    # A checkpoint holds no optimizer state where that has no arrays.
    before = state if before is None else in_device_memory(before)
    return TrainState(
      step=jnp.asarray(stage.start_step, jnp.int32),
      params=params,
      optimizer=carry(policy, before, state),
      slots={method.name: method.init(params) for method in methods},
    )

  make = jax.jit(begin, out_shardings=shardings)
  return make(loaded['params'], loaded.get('optimizer')), shardings


def _restored(stage: Stage, target: TrainState) -> TrainState:
  """The newest checkpoint; with a guard of other shapes it begins to watch."""
  own, step, guard = Checkpoints(stage.saves), stage.saved.end_step, None
  if stage.phase.guard is not None:
    guard = stage.phase.guard.name
  if guard is None or own.has_slot(step, guard, target.slots[guard]):
    return own.restore(step, target)
  wanted = target.slots[guard]
  without = dataclasses.replace(target, slots={**target.slots, guard: {}})
  state = own.restore(step, without)
  places = jax.tree.map(lambda leaf: leaf.sharding, wanted)
  begin = jax.jit(
    lambda: stage.phase.guard.init(state.params), out_shardings=places
  )
  return dataclasses.replace(state, slots={**state.slots, guard: begin()})


def _taken(stage: Stage, target: Tree) -> dict[str, jax.Array]:
  """What a warm start takes from the parent, by the names here."""
  checkpoints, step = _parent_checkpoints(stage), stage.parent.step
  saved = checkpoints.shapes(step, 'params')
  pairs = stage.phase.warm_start.pairs(target, saved)
  places = {name: leaf.sharding for name, leaf in named_paths(target).items()}
  leaves = named_paths(saved)
  # What is taken to two places comes with the sharding of the last.
  wanted = {
    match: jax.ShapeDtypeStruct(
      leaves[match].shape, leaves[match].dtype, sharding=places[name]
    )
    for name, match in pairs.items()
  }
  found = checkpoints.load_some(step, 'params', nested(wanted))
  loaded = named_paths(found)
  return {name: loaded[match] for name, match in pairs.items()}


def to_json(ancestors: dict[str, tuple[Ledger, Ledger]]) -> dict[str, dict]:
  """Ancestors' ledgers as a lineage keeps them."""
  return {
    name: {'entry': entry.to_json(), 'end': end.to_json()}
    for name, (entry, end) in ancestors.items()
  }


def _parsed(lineage: Lineage) -> dict[str, tuple[Ledger, Ledger]]:
  return {
    name: (Ledger.from_json(own['entry']), Ledger.from_json(own['end']))
    for name, own in lineage.ancestors.items()
  }


def _parent_checkpoints(stage: Stage) -> Checkpoints:
  return Checkpoints(stage.parent_folder / 'checkpoints')
