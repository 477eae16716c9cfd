"""From the rows that a process has read to a batch over all devices."""

import math

import jax
import numpy as np

from tpu_lm.checks import UserError
from tpu_lm.processes import count
from tpu_lm.shapes import BATCH
from tpu_lm.sharding import RULES, batch_shardings


class Feed:
  """Puts batches on the devices of a mesh, each process the rows of its own.

  Attributes:
    own: i64[R], the rows of a batch that this process has to read, ascending:
      those that its devices hold. Processes whose devices share rows, as on the
      axes tensor and sequence, each read them.

  Args:
    mesh: the jax mesh.
    rows: B, of a batch of all processes.
  """

  def __init__(self, mesh: jax.sharding.Mesh, rows: int):
    self._mesh, self._rows = mesh, rows
    column = {'source': jax.ShapeDtypeStruct((rows,), np.int32)}
    sharding = batch_shardings(mesh, column)['source']
    places = sharding.addressable_devices_indices_map((rows,)).values()
    held = [np.arange(rows)[index] for index in places]
    self.own = np.unique(np.concatenate(held))
    self._place_of = np.full(rows, -1)
    self._place_of[self.own] = np.arange(self.own.size)

  def place(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """A batch [B, ...] over all devices, of the own rows [R, ...] of it."""
    if count() == 1:
      return jax.device_put(batch, batch_shardings(self._mesh, batch))
    whole = {
      key: jax.ShapeDtypeStruct((self._rows, *x.shape[1:]), x.dtype)
      for key, x in batch.items()
    }
    shardings = batch_shardings(self._mesh, whole)
    return {
      key: jax.make_array_from_callback(
        whole[key].shape, shardings[key], self._part(x)
      )
      for key, x in batch.items()
    }

  def _part(self, x: np.ndarray):
    """Gives what a device holds of an array, by its index in the whole."""
    return lambda index: x[self._place_of[index[0]]][:, *index[1:]]


def check_rows(mesh, rows: int, key: str) -> None:
  """UserError unless a batch of `rows` divides over the mesh."""
  sizes = {axis: mesh.shape[axis] for axis in RULES[BATCH]}
  if rows % math.prod(sizes.values()):
    axes = ', '.join(f'{axis} ({size})' for axis, size in sizes.items())
    raise UserError(
      f'{key} = {rows}: must be a multiple of {math.prod(sizes.values())}, the'
      f' devices on the mesh axes {axes}'
    )
