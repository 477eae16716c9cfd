"""Checkpoints of one phase: saved in the background, committed by a rename.

A thin front for orbax. Each checkpoint holds the arrays of a `TrainState` and
a record: plain JSON with the lineage, the ledger, the configuration and a
checksum of every array, so that it can be restored, understood and trusted
with nothing else at hand.
"""

import contextlib
import os
import pathlib
import re
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp

from tpu_lm import record
from tpu_lm.checkpoint_folder import CheckpointFolder, Damaged
from tpu_lm.checks import UserError
from tpu_lm.patience import PAUSES, patiently
from tpu_lm.processes import count, gather, primary
from tpu_lm.retention import Retention
from tpu_lm.state import TrainState
from tpu_lm.tree import Tree, differences, named_paths, nested

# What checkpoints call their parts; each method has a slot.
PARTS = ('params', 'optimizer')
SLOT = 'slot_'
# What orbax raises for files that are missing, cut off or changed.
UNREADABLE = (OSError, ValueError, KeyError, TypeError)

T = TypeVar('T')


class Checkpoints(CheckpointFolder):
  """The checkpoints under `directory`, one folder a step.

  Args:
    directory: made at the first save.
    keep: which of them to keep; None: the two newest.
    regular: which steps every course of the run saves; None: all.
  """

  def __init__(
    self,
    directory: pathlib.Path,
    keep: Retention | None = None,
    regular: Callable[[int], bool] | None = None,
  ):
    super().__init__(directory)
    self.keep = keep or Retention()
    self._regular = regular
    self._saving = None

  def save(self, state: TrainState, content: dict) -> None:
    """Starts to save; returns when the arrays are copied, not yet written.

    Args:
      state: the training state; its step names the checkpoint.
      content: of the record, plain JSON.

    Raises:
      FloatingPointError: something is not finite; nothing is written.
    """
    arrays = _arrays(state)
    told = record.sealed(content, arrays)
    self.wait()
    path = self.path(int(state.step))
    if primary() and path.exists():  # a leftover that was never committed
      shutil.rmtree(path)
    gather('')  # all wait for that
    # orbax copies to the host before it returns, so the next step may be given
    # these buffers to overwrite (tests/test_checkpoint.py makes sure).
    with self._writing():
      self._saving = ocp.save_checkpointables_async(
        path, arrays, custom_metadata=told
      )

  def wait(self) -> None:
    """Returns when the checkpoint being saved is committed.

    Raises:
      OSError: it could not be written; those before it are whole.
    """
    if self._saving is not None:
      saving, self._saving = self._saving, None
      with self._writing():
        saving.result()
      if primary():
        self._prune()

  def record(self, step: int) -> dict:
    """The record that was saved with a checkpoint.

    Raises:
      UserError: there is no such checkpoint, or no longer.
      Damaged: it is not what was saved.
    """
    kept = self.steps()
    if step not in kept:
      raise UserError(
        f'{self.directory} has no checkpoint of step {step}, only of {kept}'
      )

    def read() -> dict:
      return record.opened(ocp.metadata(self.path(step)).custom_metadata)

    return self._read(step, read)

  def restore(self, step: int, target: TrainState) -> TrainState:
    """Loads a whole state onto the shardings of `target`.

    Args:
      step: a step of `steps()`.
      target: `jax.ShapeDtypeStruct`s with shardings; a slot without arrays
        comes back as it is.

    Raises:
      UserError: names, shapes or dtypes differ from the target's.
      Damaged: it is not what was saved.
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

    orbax casts dtypes silently, so everything is compared first; and reads
    flipped bits as other numbers, so everything is compared afterwards.
    """
    self.check(step, targets)
    return self._load(step, targets)

  def arrays(self, step: int) -> dict[str, np.ndarray]:
    """All that a checkpoint holds, by 'part/name', on this host."""
    place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    targets = {
      part: jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree
      )
      for part, tree in self._metadata(step).items()
      if part in PARTS or part.startswith(SLOT)
    }
    loaded = self._load(step, targets)
    return jax.tree.map(np.asarray, named_paths(loaded))

  def shapes(self, step: int, name: str) -> Tree:
    """Shapes and dtypes of one part, such as `params`, in nested dicts."""
    return nested(self._saved(step)).get(name, {})

  def has_slot(self, step: int, name: str, slot: Tree) -> bool:
    """Whether a checkpoint has a method's slot of these shapes and dtypes."""
    return not differences(self.shapes(step, SLOT + name), slot)

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
      return self._load(step, {name: target})[name]

  def check(self, step: int, targets: dict[str, Tree]) -> None:
    """UserError unless the checkpoint holds the names, shapes and dtypes."""
    path = self.path(step)
    for name, target in targets.items():
      saved = self.shapes(step, name)
      if not saved and jax.tree.leaves(target):
        held = sorted({name.split('/')[0] for name in self._saved(step)})
        raise UserError(f'{path} holds no {name!r}, only {held}')
      different = differences(saved, target)
      if different:
        more = f' and {len(different) - 3} more' if len(different) > 3 else ''
        raise UserError(
          f'{path}: {name} is not what this configuration makes (saved '
          f'against wanted): {"; ".join(different[:3])}{more}'
        )

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    try:
      yield
    # What TensorStore raises where a disk refuses, and orbax around it.
    except (ValueError, RuntimeError) as error:
      number = _system_error(error)
      if number is None:
        raise
      why = os.strerror(number)
      raise OSError(number, why, str(self.directory)) from error

  def _saved(self, step: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and dtypes by 'part/name', as the record knows them."""
    found = record.shapes(self.record(step))
    return named_paths(self._metadata(step)) if found is None else found

  def _metadata(self, step: int) -> dict[str, Tree]:
    """What orbax knows of the parts, as shapes and dtypes."""
    path = self.path(step)
    saved = self._read(step, lambda: ocp.checkpointables_metadata(path))
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), saved.metadata
    )

  def _load(self, step: int, targets: dict[str, Tree]) -> dict[str, Tree]:
    told = self.record(step)

    def read() -> dict[str, Tree]:
      loaded = ocp.load_checkpointables(self.path(step), targets)
      record.check(told, loaded)
      return loaded

    if count() == 1:
      return self._read(step, read)
    for pause in (*PAUSES, None):
      try:
        loaded, mistake = self._read(step, read), ''
      except Damaged as error:
        loaded, mistake = {}, str(error)
      mistakes = list(filter(None, gather(mistake)))
      if not mistakes:
        return loaded
      if pause is not None:
        time.sleep(pause)
    why = mistakes[0].rpartition('is damaged: ')[2]
    raise Damaged(self.directory, step, why)

  def _read(self, step: int, read: Callable[[], T]) -> T:
    """What `read` returns; tried again where it fails for a passing reason.

    Raises:
      Damaged: it fails though every file can be read.
      UserError: files can't be read: the storage is in trouble.
    """
    try:
      # Several processes try again together: orbax lets them meet.
      return patiently(read, UNREADABLE) if count() == 1 else read()
    except (UserError, TimeoutError):
      raise
    except UNREADABLE as error:
      self.check_readable(step)
      # orbax's own text goes on about its handlers.
      why = str(error) if isinstance(error, record.Unsealed) else ''
      why = why or f'it can not be read ({type(error).__name__})'
      raise Damaged(self.directory, step, why) from error

  def sweep(self) -> None:
    """Removes what killed processes left behind, and what need not be kept."""
    super().sweep()
    if primary():
      self._prune()

  def _prune(self) -> None:
    """Deletes what needs not be kept."""
    steps, metrics = self.steps(), {}
    for step in steps if self.keep.best else ():
      with contextlib.suppress(Damaged):
        metrics[step] = self.record(step).get('metrics', {})
    regular = list(filter(self._regular or (lambda step: True), steps))
    for step in self.keep.dropped(steps, regular, metrics):
      if step not in self.pinned():
        self.delete(step)


def _system_error(error: BaseException | None) -> int | None:
  """The system's number for what went wrong, of an error or its causes."""
  while error is not None:
    found = re.search(r"os_error_code='(\d+)'", str(error))
    if found:
      return int(found.group(1))
    error = error.__cause__ or error.__context__
  return None


def _arrays(state: TrainState) -> dict[str, Any]:
  """The parts of a state that hold arrays, by checkpoint name."""
  parts = dict(zip(PARTS, (state.params, state.optimizer), strict=True))
  parts |= {SLOT + name: slot for name, slot in state.slots.items()}
  return {name: part for name, part in parts.items() if jax.tree.leaves(part)}
