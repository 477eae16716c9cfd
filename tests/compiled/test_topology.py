import dataclasses
import importlib.util

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import mesh_utils
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from tpu_lm.checks import UserError
from tpu_lm.compiled.cost import cost_of
from tpu_lm.compiled.topology import GENERATIONS, Topology


@pytest.mark.parametrize(
  'name, slices, chips, devices, wrap',
  [
    ('v4:2x2x1', 1, 4, 4, None),
    ('v4:4x4x8', 1, 128, 128, [1, 1, 1]),
    ('v5e:1x1', 1, 1, 1, None),
    ('v5e:4x4', 2, 32, 32, None),
    ('v5e:16x16', 1, 256, 256, [1, 1, 0]),
    ('v5e:16x16', 4, 1024, 1024, [1, 1, 0]),
    ('v5p:4x4x2', 1, 32, 32, None),
    ('v5p:4x4x6', 1, 96, 96, None),
    ('v5p:4x4x8', 1, 128, 128, [1, 1, 1]),
    ('v6e:8x16', 1, 128, 128, None),
    ('v6e:16x16', 1, 256, 256, [1, 1, 0]),
    ('tpu7x:2x2x1', 1, 4, 8, None),
    ('tpu7x:4x4x4', 1, 64, 128, [1, 1, 1]),
  ],
)
def test_names_are_read(name, slices, chips, devices, wrap):
  topology = Topology.parse(name, slices)
  assert topology.name == name
  assert (topology.chips, topology.devices) == (chips, devices)
  assert topology.wrap == wrap


def test_facts_are_of_one_device():
  v5p, tpu7x = Topology.parse('v5p:2x2x1'), Topology.parse('tpu7x:2x2x1')
  assert v5p.hbm_bytes == 95 * 2**30
  assert v5p.peak_flops == 459e12
  assert v5p.hbm_bandwidth == 2765e9
  assert v5p.clock_hz == 1.75e9
  assert tpu7x.hbm_bytes == 96 * 2**30
  assert tpu7x.peak_flops == 2307e12 / 2
  assert tpu7x.hbm_bandwidth == 7380e9 / 2
  assert tpu7x.clock_hz is None


@pytest.mark.parametrize('kind, units', [('v4', 8), ('v5e', 4), ('v5p', 8)])
def test_clocks_agree_with_the_peaks(kind, units):
  facts = GENERATIONS[kind]
  flops_per_cycle = units * 2 * 128 * 128
  assert facts.peak_flops / flops_per_cycle == pytest.approx(
    facts.clock_hz, rel=0.005
  )


@pytest.mark.parametrize(
  'name, told',
  [
    ('v5x:4x4x4', "generation 'v5x'. Did you mean: v5p, v5e"),
    ('ironwood:4x4x4', 'Did you mean: tpu7x'),
    ('v5litepod:4x4', 'Did you mean: v5e'),
    ('v5p:4x4', 'v5p:AxBxC'),
    ('v5e:4x4x1', 'v5e:AxB'),
    ('v5p:4x4x0', 'at least 1 chip'),
    ('v5e', 'such as v5e:8x8'),
    ('v5p:4x4x', 'such as v5p:4x4x4'),
    ('v5p:a', 'such as v5p:4x4x4'),
    ('v5e:3x4', 'must be even'),
    ('v5e:16x32', '512 chips, but a v5e pod ends at 256'),
    ('v6e:32x32', 'a v6e pod ends at 256'),
    ('v4:16x16x20', 'a v4 pod ends at 4096'),
    ('v5p:24x24x16', 'a v5p pod ends at 8960'),
    ('v5p-128', r'chips \(64\), not their shape: write v5p:4x4x4$'),
    ('v5p-1024', 'write v5p:8x8x8 or v5p:4x8x16 or'),
    ('v4-8', 'write v4:2x2x1$'),
    ('v5litepod-16', 'write v5e:4x4$'),
    ('v6e-256', 'write v6e:16x16$'),
    ('v5litepod-17', 'no v5e slice of that size'),
    ('v5p-7', 'no v5p slice of that size'),
    ('v5q-8', "accelerator type 'v5q-8'. Did you mean"),
  ],
)
def test_mistakes_are_told(name, told):
  with pytest.raises(UserError, match=told):
    Topology.parse(name)


def test_slices_are_counted_from_one():
  with pytest.raises(UserError, match='slices = 0'):
    Topology.parse('v5e:4x4', slices=0)


def test_it_is_frozen():
  with pytest.raises(dataclasses.FrozenInstanceError):
    Topology.parse('v5e:4x4').slices = 2


def test_missing_libtpu_is_told(monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(UserError, match=r"pip install 'tpu-lm\[tpu\]'"):
    Topology.parse('v5e:4x4').description()


LAYERS, FEATURES = 3, 1024
TOKENS = 512  # of one device
ASYNCHRONOUS = (
  'xla_tpu_enable_async_collective_fusion',
  'xla_tpu_enable_async_collective_fusion_fuse_all_gather',
  'xla_tpu_enable_async_collective_fusion_multiple_steps',
  'xla_tpu_overlap_compute_collective_tc',
  'xla_enable_async_all_gather',
)


@pytest.mark.skipif(
  not importlib.util.find_spec('libtpu'), reason='needs libtpu (extra `tpu`)'
)
class TestWithLibtpu:
  @pytest.fixture(autouse=True)
  def environment(self, monkeypatch):
    monkeypatch.setenv('TPU_SKIP_MDS_QUERY', '1')
    monkeypatch.setenv('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
    # Programs compiled for no device can't be read back from the cache.
    cached = jax.config.jax_enable_compilation_cache
    jax.config.update('jax_enable_compilation_cache', False)
    compilation_cache.reset_cache()
    yield
    jax.config.update('jax_enable_compilation_cache', cached)
    compilation_cache.reset_cache()

  @pytest.mark.parametrize(
    'name, slices',
    [
      ('v4:2x2x1', 1),
      ('v4:4x4x4', 2),
      ('v5e:1x1', 1),
      ('v5e:4x4', 2),
      ('v5p:4x4x4', 1),
      ('v6e:16x16', 1),
      ('tpu7x:2x2x1', 1),
    ],
  )
  def test_libtpu_knows_it(self, name, slices):
    topology = Topology.parse(name, slices)
    devices = topology.description().devices
    assert len(devices) == topology.devices
    assert (
      len({getattr(device, 'slice_index', 0) for device in devices}) == slices
    )

  def test_what_libtpu_refuses_is_told(self):
    topology = Topology('v5p', (2, 2, 1))
    object.__setattr__(topology, 'dims', (3, 2, 1))
    with pytest.raises(UserError, match=r"'v5p:3x2x1': INVALID_ARGUMENT"):
      topology.description()

  def cost(self, name, slices=1, unroll=1, options=(), gradient=False):
    """Layers of two products, each of them gathered where it is used."""
    devices = list(Topology.parse(name, slices).description().devices)
    if slices == 1:
      grid = mesh_utils.create_device_mesh((1, len(devices)), devices)
    else:
      shape = (1, len(devices) // slices), (slices, 1)
      grid = mesh_utils.create_hybrid_device_mesh(*shape, devices)
    mesh = Mesh(grid, ('data', 'fsdp'), axis_types=(AxisType.Auto,) * 2)

    def placed(*axes):
      return NamedSharding(mesh, PartitionSpec(*axes))

    def layer(x, weights):
      for weight in weights:
        x = x @ jax.lax.with_sharding_constraint(weight, placed())
        x = jax.lax.with_sharding_constraint(x, placed(('data', 'fsdp')))
      return x, None

    def run(weights, x):
      return jax.lax.scan(layer, x, weights, unroll=unroll)[0]

    def slope(weights, x):
      return jax.grad(lambda w: jnp.sum(run(w, x).astype(jnp.float32)))(weights)

    def shape_of(shape, *axes):
      return jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=placed(*axes))

    weight = shape_of((LAYERS, FEATURES, FEATURES), None, 'fsdp')
    x = shape_of((TOKENS * len(devices), FEATURES), ('data', 'fsdp'))
    lowered = jax.jit(slope if gradient else run).lower((weight, weight), x)
    compiled = lowered.compile(dict.fromkeys(options, True))
    text = compiled.as_text()
    assert 'known_trip_count' not in text
    return cost_of(text)

  def test_a_scan_costs_what_its_unrolled_form_costs(self):
    scanned = self.cost('v5e:4x4')
    unrolled = self.cost('v5e:4x4', unroll=LAYERS)
    expected = 2 * LAYERS * 2 * TOKENS * FEATURES**2
    assert scanned.flops == unrolled.flops == expected
    assert not scanned.unknown_loops
    assert scanned.cycles == pytest.approx(unrolled.cycles, rel=0.2)
    # No matrix unit is faster than its peak.
    topology = Topology.parse('v5e:4x4')
    seconds = scanned.cycles / topology.clock_hz
    assert scanned.flops / topology.peak_flops < seconds

  @pytest.mark.parametrize(
    'name, options, asynchronous',
    [
      ('v5e:4x4', (), True),
      ('v5p:4x4x4', (), False),
      ('v5p:4x4x4', ASYNCHRONOUS, True),
    ],
  )
  def test_gathered_weights_are_found(self, name, options, asynchronous):
    gathers = self.cost(name, options=options).collectives['all-gather']
    assert gathers.count == 2 * LAYERS
    assert gathers.bytes == 2 * LAYERS * FEATURES**2 * 2
    assert (gathers.asynchronous > 0) == asynchronous

  def test_gradients_between_slices(self):
    cost = self.cost('v5e:4x4', slices=2, gradient=True)
    # The last layer's input has no gradient to take.
    assert cost.flops == pytest.approx(
      3 * 2 * LAYERS * 2 * TOKENS * FEATURES**2, rel=0.2
    )
    sent, received = cost.collectives['send'], cost.collectives['recv']
    assert sent.count == received.count > 0
    assert sent.bytes == received.bytes

  def test_batched_products_are_counted_without_their_padding(self):
    topology = Topology.parse('v5e:4x4').description()
    place = jax.sharding.SingleDeviceSharding(topology.devices[0])
    shape = jax.ShapeDtypeStruct((16, 128, 64), jnp.bfloat16, sharding=place)

    def attend(query, key):
      return jnp.einsum('hqd,hkd->hqk', query, key)

    text = jax.jit(attend).lower(shape, shape).compile().as_text()
    assert ' convolution(' in text
    assert cost_of(text).flops == 2 * 16 * 128 * 128 * 64
