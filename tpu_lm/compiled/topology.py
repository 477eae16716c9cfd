"""TPU slices by name: their facts, and what programs are compiled for.

    topology = Topology.parse('v5p:4x4x8')
    devices = topology.description().devices

No TPU is needed: libtpu compiles for a slice that it is only told of.
"""

import contextlib
import dataclasses
import importlib.util
import itertools
import math
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

from tpu_lm.checks import UserError, nearest

_GIB = 2**30


class Generation(NamedTuple):
  """Facts about one generation of TPUs, for one chip.

  Attributes:
    dimensions: of its interconnect.
    pod: chips in the largest pod.
    devices: JAX devices of a chip.
    hbm_bytes: memory.
    peak_flops: in bfloat16, per second.
    hbm_bandwidth: bytes per second.
    clock_hz: cycles per second, or None where it is not known.
    cores: what the number in the cloud's accelerator type counts on a chip.
    cloud: the accelerator type's prefix.
  """

  dimensions: int
  pod: int
  devices: int
  hbm_bytes: int
  peak_flops: float
  hbm_bandwidth: float
  clock_hz: float | None
  cores: int
  cloud: str


# Source: the page of each version in Google's Cloud TPU documentation (v4,
# v5e, v5p, v6e, tpu7x), read in November 2026. It writes the memory of v5e and
# v6e in GB and means GiB, as libtpu's limits show (15.75 and 31.25 GiB are
# left to a program).
#
# Clocks are not on those pages. v4: 1,050 MHz by Jouppi et al. 2023, "TPU v4",
# table 4. v5e, v5p: the peak divided by 2 * 128 * 128 flops a cycle in each
# matrix unit (4 and 8 a chip). v6e: assumed to be that of v5p. tpu7x: unknown.
GENERATIONS = {
  'v4': Generation(
    3, 4096, 1, 32 * _GIB, 275e12, 1200e9, 1.05e9, cores=2, cloud='v4'
  ),
  'v5e': Generation(
    2, 256, 1, 16 * _GIB, 197e12, 819e9, 1.5e9, cores=1, cloud='v5litepod'
  ),
  'v5p': Generation(
    3, 8960, 1, 95 * _GIB, 459e12, 2765e9, 1.75e9, cores=2, cloud='v5p'
  ),
  'v6e': Generation(
    2, 256, 1, 32 * _GIB, 918e12, 1638e9, 1.75e9, cores=1, cloud='v6e'
  ),
  'tpu7x': Generation(
    3, 9216, 2, 192 * _GIB, 2307e12, 7380e9, None, cores=2, cloud='tpu7x'
  ),
}
_OTHER_NAMES = {
  'v5litepod': 'v5e',
  'v5lite': 'v5e',
  'trillium': 'v6e',
  'ironwood': 'tpu7x',
  'v7x': 'tpu7x',
}
_CLOUD = re.compile(r'([a-z\d]+)-(\d+)')


@dataclasses.dataclass(frozen=True)
class Topology:
  """One or several equal slices of a TPU pod.

  Attributes:
    kind: a generation, a key of `GENERATIONS`.
    dims: chips along each dimension of one slice.
    slices: how many, joined by the data centre's network.
  """

  kind: str
  dims: tuple[int, ...]
  slices: int = 1

  def __post_init__(self):
    if self.kind not in GENERATIONS:
      known = nearest(_OTHER_NAMES.get(self.kind, self.kind), GENERATIONS)
      raise UserError(f'topology: unknown TPU generation {self.kind!r}.{known}')
    wanted = self._facts.dimensions
    shape = 'AxB' if wanted == 2 else 'AxBxC'
    if len(self.dims) != wanted or min(self.dims) < 1:
      raise UserError(
        f'topology {self.name!r}: {self.kind} slices have {wanted} dimensions '
        f'of at least 1 chip: write {self.kind}:{shape}'
      )
    # Hosts have 2 x 2 chips; only a single chip may be fewer.
    if math.prod(self.dims) > 1 and any(size % 2 for size in self.dims[:2]):
      raise UserError(
        f'topology {self.name!r}: the first two dimensions must be even (a '
        f'host has 2x2 chips), or all of them 1'
      )
    if math.prod(self.dims) > self._facts.pod:
      raise UserError(
        f'topology {self.name!r}: {math.prod(self.dims)} chips, but a '
        f'{self.kind} pod ends at {self._facts.pod}; take several slices'
      )
    if self.slices < 1:
      raise UserError(f'slices = {self.slices!r}: must be at least 1')

  @classmethod
  def parse(cls, text: str, slices: int = 1) -> 'Topology':
    """Reads a name such as 'v5e:16x16' or 'v5p:4x4x8'.

    Raises:
      UserError: an unknown generation, a shape that it does not come in, or
        more chips than a pod has. An accelerator type of the cloud, such as
        'v5p-128', does not tell the shape: the message lists the shapes.
    """
    cloud = _CLOUD.fullmatch(text)
    if cloud:
      raise UserError(_explain_cloud_type(text, *cloud.groups()))
    kind, _, shape = text.partition(':')
    if kind in GENERATIONS and not re.fullmatch(r'\d+(x\d+)*', shape):
      raise UserError(
        f'topology {text!r}: write chips along each dimension, such as '
        f'{_usual_shapes(kind, 64)[0]}'
      )
    dims = tuple(int(size) for size in re.findall(r'\d+', shape))
    return cls(kind, dims, slices)

  @property
  def name(self) -> str:
    """As `parse` reads it, without the number of slices."""
    return f'{self.kind}:{"x".join(map(str, self.dims))}'

  @property
  def chips(self) -> int:
    """Chips of all slices."""
    return math.prod(self.dims) * self.slices

  @property
  def devices(self) -> int:
    """JAX devices of all slices.

    A chip is one, but two in tpu7x. The two cores of a v4 chip are joined to
    one device ("megacore"), as the cloud runs them.
    """
    return self.chips * self._facts.devices

  @property
  def hbm_bytes(self) -> int:
    """Memory of a device, in bytes; the runtime keeps 1-4 % for itself."""
    return self._facts.hbm_bytes // self._facts.devices

  @property
  def peak_flops(self) -> float:
    """Floating-point operations in bfloat16 of a device, per second."""
    return self._facts.peak_flops / self._facts.devices

  @property
  def hbm_bandwidth(self) -> float:
    """Bytes per second between a device and its memory."""
    return self._facts.hbm_bandwidth / self._facts.devices

  @property
  def clock_hz(self) -> float | None:
    """Cycles per second, or None where unknown (tpu7x); v6e's is assumed."""
    return self._facts.clock_hz

  @property
  def wrap(self) -> list[int] | None:
    """Which dimensions are rings, as libtpu wants them told, or None.

    Without it libtpu takes none for a ring, and an all-gather along a mesh
    axis becomes a broadcast and an all-reduce. Slices of whole 4x4x4 cubes
    are closed in all three dimensions, v5e and v6e only as a full pod.
    """
    if len(self.dims) == 3:
      return [1, 1, 1] if all(size % 4 == 0 for size in self.dims) else None
    return [1, 1, 0] if self.dims == (16, 16) else None

  def description(self) -> topologies.TopologyDescription:
    """What `jax.jit(...).lower(...).compile()` can be aimed at.

    Lay a mesh over its `devices` with `topologies.make_mesh` or
    `mesh_utils.create_device_mesh`, which order them by their places: in the
    order in which they come, a mesh axis may be no ring.

    Outside of a TPU machine set JAX_PLATFORMS=cpu, TPU_SKIP_MDS_QUERY=1 and
    ALLOW_MULTIPLE_LIBTPU_LOAD=1 in the environment first.

    Raises:
      UserError: libtpu is missing or refuses the shape.
    """
    if importlib.util.find_spec('libtpu') is None:
      raise UserError(
        f'topology {self.name!r}: compiling for TPUs needs libtpu: '
        f"pip install 'tpu-lm[tpu]' (Linux only; no TPU is needed)"
      )
    options: dict[str, Any] = {}
    if self.wrap is not None:
      options['wrap'] = self.wrap
    if self.slices > 1:
      options['num_slices'] = self.slices
    if self.kind == 'v4':
      options['chip_config_name'] = 'megacore'
    if math.prod(self.dims) == 1:
      options['chips_per_host_bounds'] = [1, 1, 1]
    try:
      with _quiet():
        return topologies.get_topology_desc(
          platform='tpu', topology_name=self.name, **options
        )
    except jax.errors.JaxRuntimeError as error:
      told = str(error).splitlines()[0]
      raise UserError(f'topology {self.name!r}: {told}') from None

  @property
  def _facts(self) -> Generation:
    return GENERATIONS[self.kind]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Without libtpu's complaints on standard error that no TPU is there."""
  sys.stderr.flush()
  before = os.dup(2)
  try:
    with open(os.devnull, 'wb') as nothing:
      os.dup2(nothing.fileno(), 2)
    yield
  finally:
    os.dup2(before, 2)
    os.close(before)


def _usual_shapes(kind: str, chips: int) -> list[str]:
  """Names of the slices of so many chips that the cloud offers.

  Flat slices have one shape for each size; the others are whole cubes of
  4x4x4 chips or one of the small ones. The most cubic come first.
  """
  small = {4: (2, 2, 1), 8: (2, 2, 2), 16: (2, 2, 4), 32: (2, 4, 4)}
  flat = {1: (1, 1), 4: (2, 2), 8: (2, 4), 16: (4, 4), 32: (4, 8)}
  flat |= {64: (8, 8), 128: (8, 16), 256: (16, 16)}
  listed = flat if GENERATIONS[kind].dimensions == 2 else small
  shapes = [listed[chips]] if chips in listed else []
  if listed is small:
    sizes = range(4, 33, 4)
    cubes = itertools.combinations_with_replacement(sizes, 3)
    shapes += sorted((c for c in cubes if math.prod(c) == chips), key=max)
  return [f'{kind}:{"x".join(map(str, shape))}' for shape in shapes]


def _explain_cloud_type(text: str, prefix: str, number: str) -> str:
  kinds = {facts.cloud: kind for kind, facts in GENERATIONS.items()}
  kinds |= {kind: kind for kind in GENERATIONS}
  if prefix not in kinds:
    known = nearest(prefix, kinds)
    return f'topology: unknown accelerator type {text!r}.{known}'
  kind = kinds[prefix]
  chips, left = divmod(int(number), GENERATIONS[kind].cores)
  names = _usual_shapes(kind, chips) if not left else []
  if chips > GENERATIONS[kind].pod or not names:
    return f'topology {text!r}: the cloud has no {kind} slice of that size'
  return (
    f'topology {text!r}: an accelerator type tells the number of chips '
    f'({chips}), not their shape: write {" or ".join(names[:4])}'
  )
