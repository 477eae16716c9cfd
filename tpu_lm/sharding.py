"""Where arrays live: the mesh, and which mesh axis splits which dimension."""

import dataclasses
import math
from collections.abc import Sequence

import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tpu_lm import shapes
from tpu_lm.checks import UserError, require
from tpu_lm.tree import Tree, is_axes, map_named, named_paths

# The one table: logical axis -> mesh axes that may split it, in order.
RULES: dict[str, tuple[str, ...]] = {
  shapes.BATCH: ('data', 'fsdp', 'expert'),
  shapes.SEQUENCE: ('sequence',),
  shapes.EMBED: ('fsdp',),
  shapes.VOCAB: ('tensor',),
  shapes.MLP: ('tensor',),
  shapes.HEADS: ('tensor',),
  shapes.KV_HEADS: ('tensor',),
  shapes.EXPERTS: ('expert',),
}


@dataclasses.dataclass(frozen=True)
class Mesh:
  """Devices by axis; one of them may be -1: all devices that are left.

  Attributes:
    data: copies the parameters; slices of a pod, joined slowly, lie on it.
    fsdp: splits parameters and their optimizer state.
    tensor: splits heads, feed-forward and vocabulary.
    sequence: splits the tokens of a row; attention gathers keys and values.
    expert: splits rows, and the experts of `blocks/experts.py`.
  """

  data: int = -1
  fsdp: int = 1
  tensor: int = 1
  sequence: int = 1
  expert: int = 1

  def __post_init__(self):
    for name, size in dataclasses.asdict(self).items():
      good = type(size) is int and (size > 0 or size == -1)
      require(good, f'Mesh.{name}', size, 'must be a positive int, or -1')
    sizes = dataclasses.astuple(self)
    require(sizes.count(-1) <= 1, 'Mesh', sizes, 'only one axis may be -1')

  def make(self, devices: Sequence[jax.Device] | None = None):
    """The jax mesh over all devices, or those given.

    Raises:
      UserError: the sizes do not multiply to the number of devices, or data is
        no multiple of the number of slices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = dataclasses.asdict(self)
    left = len(devices) // abs(math.prod(sizes.values()))
    sizes = {k: left if size == -1 else size for k, size in sizes.items()}
    if math.prod(sizes.values()) != len(devices):
      raise UserError(f'{self} does not cover the {len(devices)} devices here')
    slices = len({getattr(device, 'slice_index', 0) for device in devices})
    must = f'must be a multiple of the {slices} slices'
    require(sizes['data'] % slices == 0, 'Mesh.data', sizes['data'], must)
    # Explicit axes would ask for a sharding on every operation: XLA fills in.
    types = (AxisType.Auto,) * len(sizes)
    if slices == 1:
      shape = tuple(sizes.values())
      return jax.make_mesh(shape, tuple(sizes), types, devices=devices)
    inside = sizes | {'data': sizes['data'] // slices}
    across = dict.fromkeys(sizes, 1) | {'data': slices}
    grid = mesh_utils.create_hybrid_device_mesh(
      tuple(inside.values()), tuple(across.values()), devices
    )
    return jax.sharding.Mesh(grid, tuple(sizes), axis_types=types)


def partition_spec(
  axes: tuple[str, ...], shape: tuple[int, ...], mesh
) -> PartitionSpec:
  """How an array with these logical axes is split over `mesh`.

  A mesh axis that does not divide a dimension, or is taken by an earlier
  dimension, does not split it: two key/value heads on four `tensor` devices
  are copied. The parameter table shows what came of it.
  """
  taken: set[str] = set()
  parts = []
  for name, size in zip(axes, shape, strict=True):
    chosen = []
    for mesh_axis in RULES.get(name, ()):
      split = math.prod(mesh.shape[a] for a in [*chosen, mesh_axis])
      if mesh_axis not in taken and size % split == 0:
        chosen.append(mesh_axis)
    taken.update(chosen)
    parts.append(tuple(chosen) if len(chosen) > 1 else next(iter(chosen), None))
  return PartitionSpec(*parts)


def constrain(x: jax.Array, *axes: str) -> jax.Array:
  """States the sharding of an activation by its logical axes.

  Does nothing where no mesh is set, so blocks run alone in a notebook.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return x
  spec = partition_spec(axes, x.shape, mesh)
  return jax.lax.with_sharding_constraint(x, spec)


def platform() -> str:
  """What the mesh's devices are ('tpu'), though none of them need be here."""
  device = jax.sharding.get_abstract_mesh().abstract_device
  return device.platform if device else jax.default_backend()


def state_shardings(mesh, axes: Tree, params: Tree, state: Tree) -> Tree:
  """Shardings of a whole training state, or of parameters alone.

  A leaf whose name ends with a parameter's name and whose shape is the
  parameter's (a moment, an average, a copy) is split as the parameter is;
  every other leaf is copied to all devices.

  Args:
    mesh: the jax mesh.
    axes: tree of logical axis names of the parameters.
    params: the parameters, or their shapes.
    state: any tree that holds such leaves.
  """
  names = named_paths(axes, is_axes)
  shaped = {name: leaf.shape for name, leaf in named_paths(params).items()}

  def place(path: str, leaf) -> NamedSharding:
    parts = path.split('/')
    for start in range(len(parts)):
      name = '/'.join(parts[start:])
      if shaped.get(name) == leaf.shape:
        spec = partition_spec(names[name], leaf.shape, mesh)
        return NamedSharding(mesh, spec)
    return NamedSharding(mesh, PartitionSpec())

  return map_named(place, state)


def batch_shardings(mesh, batch: dict[str, jax.Array]) -> dict:
  """Shardings of a batch, by `shapes.BATCH_KEYS`: rows are split."""
  return {
    key: NamedSharding(
      mesh, partition_spec(shapes.BATCH_KEYS[key].axes, x.shape, mesh)
    )
    for key, x in batch.items()
  }
