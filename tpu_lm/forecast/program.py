"""A phase's train step, compiled for TPUs that need not be there."""

import contextlib
import dataclasses
import math
import re
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
from jax.experimental.compilation_cache import compilation_cache

from tpu_lm.checks import UserError
from tpu_lm.compiled.cost import Cost, cost_of
from tpu_lm.compiled.peaks import narrow_peak_flops
from tpu_lm.compiled.topology import Topology
from tpu_lm.data.layout import Layout
from tpu_lm.entry import make_step
from tpu_lm.feeding import check_rows
from tpu_lm.forecast.flops import Flops, pairs_seen, step_flops
from tpu_lm.guard import slot_keepers
from tpu_lm.optimizers.offload import HOST, placed
from tpu_lm.phase import Run
from tpu_lm.shapes import BATCH, BATCH_KEYS
from tpu_lm.sharding import RULES, batch_shardings, state_shardings
from tpu_lm.stages import Stage
from tpu_lm.state import init_state
from tpu_lm.tree import Tree

# Of a TPU's peak, in kernels, which the compiler does not see into.
KERNEL_UTILISATION = 0.5
# Products of S x T x K that each of splash attention's kernels does for a pair.
KERNEL_PRODUCTS = {'fwd': 2, 'dq': 3, 'dkv': 4}
# Experts': of rows with matrices, and the gradient of matrices.
EXPERT_KERNELS = ('ragged-dot-none', 'jit(tgmm)')
_SIZE = re.compile(r'\b([\d.]+[KMGT])\b')


class DoesNotFit(UserError):
  """The program needs more memory than a device has."""


@dataclasses.dataclass(frozen=True)
class Program:
  """What a compiled train step needs.

  Attributes:
    topology: what it was compiled for.
    mesh: size of each axis.
    state_bytes: on a device, by kind: parameters, optimizer, methods, batch.
    temporary_bytes: on a device, while a step runs.
    host_bytes: of a device in its host's memory: offloaded state, and what is
      kept there for the backward pass.
    checkpoint_bytes: of the whole state.
    cost: of a step on a device.
    flops: that a step needs, on all devices.
    kernel_flops: of a step on a device, in kernels of attention and experts.
  """

  topology: Topology
  mesh: Mapping[str, int]
  state_bytes: Mapping[str, int]
  temporary_bytes: int
  host_bytes: int
  checkpoint_bytes: int
  cost: Cost
  flops: Flops
  kernel_flops: float

  @property
  def total_bytes(self) -> int:
    """On a device, at once."""
    return sum(self.state_bytes.values()) + self.temporary_bytes

  @property
  def seconds(self) -> float | None:
    """A step's time without waiting for other devices, or None.

    The compiler's cycles, and kernels at `KERNEL_UTILISATION` of the peak. It
    ranks programs and bounds them from below; it promises nothing.
    """
    if self.topology.clock_hz is None:
      return None
    kernels = KERNEL_UTILISATION * self.topology.peak_flops
    return self.cost.cycles / self.topology.clock_hz + (
      self.kernel_flops / kernels
    )

  @property
  def peak_flops(self) -> float:
    """Of a device, per second, at the formats that were compiled.

    That in bfloat16 unless there are products in 8 bits: then the mean of the
    formats' peaks over the time that each would take at its own.
    """
    total = self.cost.flops + self.kernel_flops
    wide = total - sum(self.cost.narrow_flops.values())
    seconds = wide / self.topology.peak_flops
    for kind, flops in self.cost.narrow_flops.items():
      seconds += flops / narrow_peak_flops(self.topology.kind, kind)
    return total / seconds

  @property
  def utilisation(self) -> float | None:
    """Of the peak, by the operations that training needs, or None."""
    if not self.seconds:
      return None
    peak = self.peak_flops * self.topology.devices
    return self.flops.total / (self.seconds * peak)


def compile_step(
  run: Run, stage: Stage, layout: Layout, topology: Topology
) -> Program:
  """Compiles what `loop.py` would run, for a topology.

  Args:
    run: the run.
    stage: the phase in its place.
    layout: of its rows, settled.
    topology: the devices.

  Raises:
    DoesNotFit: it needs more memory than there is.
    UserError: the mesh or the batch does not suit the devices.
  """
  phase, model = stage.phase, run.model
  mesh = run.mesh.make(topology.description().devices)
  rows = phase.batch_size // phase.micro_batches
  check_rows(mesh, rows, 'Phase.batch_size / Phase.micro_batches')
  optimizer = phase.optimizer.make(model.axes())
  series = len(phase.mixture.weights) * (2 if phase.mixture.replay else 1)

  def fresh():
    return init_state(model, optimizer, slot_keepers(phase), jax.random.key(0))

  shapes = jax.eval_shape(fresh)
  places = state_shardings(mesh, model.axes(), shapes.params, shapes)
  places = placed(phase.optimizer, places, shapes)
  state = _placed(shapes, places)
  batch = _batch(phase.batch_size, layout)
  batch = _placed(batch, batch_shardings(mesh, batch))
  step = make_step(run, stage, optimizer, series)
  with jax.set_mesh(mesh), _no_cache():
    lowered = jax.jit(
      step, donate_argnums=0, out_shardings=(places, None)
    ).lower(state, batch)
    try:
      compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
      raise _mistake(error, topology) from None
  cost = cost_of(compiled.as_text())
  memory = compiled.memory_analysis()
  parts = {
    'parameters': state.params,
    'optimizer': state.optimizer,
    'methods': state.slots,
    'batch': batch,
  }
  shards = math.prod(mesh.shape[axis] for axis in RULES[BATCH])
  return Program(
    topology,
    dict(mesh.shape),
    {name: _bytes(part) for name, part in parts.items()},
    memory.temp_size_in_bytes,
    memory.host_temp_size_in_bytes + _bytes(list(parts.values()), host=True),
    sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes)),
    cost,
    step_flops(model, layout, phase.batch_size),
    _kernel_flops(cost, model, layout, rows / shards, mesh),
  )


def _batch(rows: int, layout: Layout) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes of a batch; see `shapes.BATCH_KEYS`."""
  sizes = {key: x.shape[1:] for key, x in layout.empty().items()}
  sizes |= {'targets': sizes['inputs'], 'weights': sizes['inputs']}
  sizes['source'] = ()
  return {
    key: jax.ShapeDtypeStruct((rows, *size), jnp.dtype(BATCH_KEYS[key].dtype))
    for key, size in sizes.items()
  }


def _placed(tree: Tree, places: Tree) -> Tree:
  return jax.tree.map(
    lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
    tree,
    places,
  )


def _bytes(tree: Tree, host: bool = False) -> int:
  """Of one device's share, in its own memory or in its host's."""
  return sum(
    math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(tree)
    if (leaf.sharding.memory_kind == HOST) == host
  )


def _kernel_flops(cost: Cost, model, layout, rows: float, mesh) -> float:
  """Of attention and experts in kernels; each is taken for an average layer.

  Experts' tokens are taken for evenly spread over devices.
  """
  if model.attention.initial_tokens:
    # The kernel goes through what these windows hide, too.
    every = dataclasses.replace(
      model.attention, windows=(), initial_tokens=None
    )
    model = dataclasses.replace(model, attention=every)
  pairs = pairs_seen(model, layout)
  share = rows / (mesh.shape['tensor'] * mesh.shape['sequence'])
  product = 2 * model.heads * model.head_dim * share * sum(pairs) / len(pairs)
  total = 0.0
  for name, calls in cost.kernels.items():
    for part, products in KERNEL_PRODUCTS.items():
      if f'_{part}_' in f'{name}_':
        total += calls * products * product
    if name.endswith(EXPERT_KERNELS):
      places = [layout.targets] * model.layers
      if layout.two_sided:
        places += [layout.length] * model.encoder_layers
      assignments = (
        share * sum(places) / len(places) * model.feed_forward.chosen
      )
      total += calls * 2 * assignments * model.embed * model.mlp
  return total


@contextlib.contextmanager
def _no_cache() -> Iterator[None]:
  """JAX writes entries for devices that aren't there, and can't read them."""
  before = jax.config.jax_enable_compilation_cache
  jax.config.update('jax_enable_compilation_cache', False)
  compilation_cache.reset_cache()  # else the one in use is asked all the same
  try:
    yield
  finally:
    jax.config.update('jax_enable_compilation_cache', before)
    compilation_cache.reset_cache()


def _mistake(error: Exception, topology: Topology) -> UserError:
  text = str(error)
  if 'RESOURCE_EXHAUSTED' not in text:
    return UserError(f'{topology.name}: {text.splitlines()[0]}')
  # In all its wordings: what is needed, and then what there is.
  told, sizes = text.splitlines()[0], _SIZE.findall(text)
  if len(sizes) >= 2:
    told = f'{sizes[0]}iB are needed, and there are {sizes[1]}iB'
  return DoesNotFit(
    f'a step does not fit into a {topology.kind} device: {told}'
  )
