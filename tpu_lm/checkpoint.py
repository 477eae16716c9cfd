"""Checkpoints of one phase: saved in the background, committed by a rename.

A thin front for orbax. Each checkpoint holds the arrays of a `TrainState` and
a record: plain JSON with the lineage, the ledger and the configuration, so
that it can be restored and understood with nothing else at hand.
"""

import pathlib
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp

from tpu_lm.checks import UserError
from tpu_lm.processes import gather, primary
from tpu_lm.state import TrainState
from tpu_lm.tree import Tree, differences, named_paths

# orbax writes it last. Its own `is_orbax_checkpoint` also accepts folders that
# lack it, such as what a killed removal leaves.
COMMITTED = 'commit_success.txt'
# What checkpoints call their parts; each method has a slot.
PARTS = ('params', 'optimizer')
SLOT = 'slot_'


class Checkpoints:
  """The checkpoints under `directory`, one folder a step.

  Args:
    directory: made at the first save.
    keep: how many of the newest to keep.
  """

  def __init__(self, directory: pathlib.Path, keep: int = 2):
    self.directory = pathlib.Path(directory).absolute()
    self.keep = keep
    self._saving = None

  def steps(self) -> list[int]:
    """Steps with a committed checkpoint, ascending."""
    if not self.directory.is_dir():
      return []
    found = [p for p in self.directory.iterdir() if p.name.isdigit()]
    return sorted(int(p.name) for p in found if (p / COMMITTED).is_file())

  def save(self, state: TrainState, record: dict) -> None:
    """Starts to save; returns when the arrays are copied, not yet written.

    Args:
      state: the training state; its step names the checkpoint.
      record: plain JSON.

    Raises:
      FloatingPointError: a parameter is not finite; nothing is written.
    """
    if not bool(_all_finite(state.params)):
      raise FloatingPointError('a parameter is not finite')
    self.wait()
    path = self._path(int(state.step))
    if primary() and path.exists():  # a leftover that was never committed
      shutil.rmtree(path)
    gather('')  # all wait for that
    # orbax copies to the host before it returns, so the next step may be given
    # these buffers to overwrite (tests/test_checkpoint.py makes sure).
    self._saving = ocp.save_checkpointables_async(
      path, _arrays(state), custom_metadata=record
    )

  def wait(self) -> None:
    """Returns when the checkpoint being saved is committed."""
    if self._saving is not None:
      self._saving.result()
      self._saving = None
      for step in self.steps()[: -self.keep] if primary() else ():
        self._delete(step)

  def sweep(self) -> None:
    """Removes what killed processes left half written or half removed."""
    if not primary():
      return
    for pattern in ('*.orbax-checkpoint-tmp*', '.deleting-*'):
      for leftover in self.directory.glob(pattern):
        shutil.rmtree(leftover)

  def record(self, step: int) -> dict:
    """The record that was saved with a checkpoint.

    Raises:
      UserError: there is no such checkpoint, or no longer.
    """
    kept = self.steps()
    if step not in kept:
      raise UserError(
        f'{self.directory} has no checkpoint of step {step}, only of {kept}'
      )
    return ocp.metadata(self._path(step)).custom_metadata

  def restore(self, step: int, target: TrainState) -> TrainState:
    """Loads a whole state onto the shardings of `target`.

    Args:
      step: a step of `steps()`.
      target: `jax.ShapeDtypeStruct`s with shardings.

    Raises:
      UserError: names, shapes or dtypes differ from the target's.
    """
    arrays = self.load(step, _arrays(target))
    slots = {
      name: arrays.get(SLOT + name, slot) for name, slot in target.slots.items()
    }
    place = target.step.sharding
    return TrainState(
      step=jax.device_put(jnp.asarray(step, jnp.int32), place),
      params=arrays['params'],
      optimizer=arrays.get('optimizer', target.optimizer),
      slots=slots,
    )

  def load(self, step: int, targets: dict[str, Tree]) -> dict[str, Tree]:
    """Loads parts of a checkpoint by name: `params`, `optimizer`, `slot_...`.

    orbax casts dtypes silently, so everything is compared first.
    """
    self.check(step, targets)
    return ocp.load_checkpointables(self._path(step), targets)

  def arrays(self, step: int) -> dict[str, np.ndarray]:
    """All that a checkpoint holds, by 'part/name', on this host."""
    place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    saved = ocp.checkpointables_metadata(self._path(step)).metadata
    targets = {
      part: jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree
      )
      for part, tree in saved.items()
      if part in PARTS or part.startswith(SLOT)
    }
    loaded = ocp.load_checkpointables(self._path(step), targets)
    return jax.tree.map(np.asarray, named_paths(loaded))

  def shapes(self, step: int, name: str) -> Tree:
    """Shapes and dtypes of one part, such as `params`."""
    saved = ocp.checkpointables_metadata(self._path(step)).metadata[name]
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), saved)

  def load_some(self, step: int, name: str, target: Tree) -> Tree:
    """Loads some of the arrays of one part: those that `target` has.

    Args:
      step: a step of `steps()`.
      name: of the part, such as `params`.
      target: `jax.ShapeDtypeStruct`s with shardings, their names, shapes and
        dtypes among those of `shapes`.
    """
    some = ocp.options.PyTreeOptions.Loading(partial_load=True)
    with ocp.Context(pytree_options=ocp.options.PyTreeOptions(loading=some)):
      return ocp.load_checkpointables(self._path(step), {name: target})[name]

  def check(self, step: int, targets: dict[str, Tree]) -> None:
    """UserError unless the checkpoint holds the names, shapes and dtypes."""
    path = self._path(step)
    saved = ocp.checkpointables_metadata(path).metadata
    for name, target in targets.items():
      if name not in saved:
        raise UserError(f'{path} holds no {name!r}, only {sorted(saved)}')
      different = differences(saved[name], target)
      if different:
        more = f' and {len(different) - 3} more' if len(different) > 3 else ''
        raise UserError(
          f'{path}: {name} is not what this configuration makes (saved '
          f'against wanted): {"; ".join(different[:3])}{more}'
        )

  def _path(self, step: int) -> pathlib.Path:
    return self.directory / str(step)

  def _delete(self, step: int) -> None:
    # Renamed first: a kill in mid-removal leaves nothing that looks whole.
    condemned = self.directory / f'.deleting-{step}'
    if condemned.exists():
      shutil.rmtree(condemned)
    self._path(step).rename(condemned)
    shutil.rmtree(condemned)


def _arrays(state: TrainState) -> dict[str, Any]:
  """The parts of a state that hold arrays, by checkpoint name."""
  parts = dict(zip(PARTS, (state.params, state.optimizer), strict=True))
  parts |= {SLOT + name: slot for name, slot in state.slots.items()}
  return {name: part for name, part in parts.items() if jax.tree.leaves(part)}


@jax.jit
def _all_finite(tree: Tree) -> jax.Array:
  leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
  return jnp.all(jnp.stack(leaves))
