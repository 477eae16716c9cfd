import json
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from tpu_lm.compiled import hlo
from tpu_lm.compiled.cost import Traffic, cost_of

WIDTH, ROWS, INNER, OUTER = 64, 8, 3, 4
PRODUCT = 2 * ROWS * WIDTH * WIDTH


def loss(weights, x, unroll=1, remat=False):
  """Matrix products in a scan in a scan."""

  def inner(x, weight):
    return jnp.tanh(x @ weight), None

  def outer(x, weight):
    several = jnp.stack([weight] * INNER)
    return jax.lax.scan(inner, x, several, unroll=unroll)[0], None

  outer = jax.checkpoint(outer) if remat else outer
  return jnp.sum(jax.lax.scan(outer, x, weights, unroll=unroll)[0])


def compiled_text(function, *arguments):
  return jax.jit(function).lower(*arguments).compile().as_text()


def cpu_text(function):
  return compiled_text(
    function, jnp.ones((OUTER, WIDTH, WIDTH)), jnp.ones((ROWS, WIDTH))
  )


def without_trip_counts(text):
  """As TPU programs are: the count follows from the condition alone."""
  return re.sub(r',?"known_trip_count":\{"n":"\d+"\}', '', text)


@pytest.mark.parametrize('change', [lambda text: text, without_trip_counts])
def test_nested_scans_are_multiplied_out(change):
  scanned = cost_of(change(cpu_text(loss)))
  unrolled = cost_of(cpu_text(lambda w, x: loss(w, x, unroll=OUTER)))
  assert scanned.flops == unrolled.flops == INNER * OUTER * PRODUCT
  assert not scanned.unknown_loops
  assert scanned.cycles == 0


@pytest.mark.parametrize('remat', [False, True])
@pytest.mark.parametrize('change', [lambda text: text, without_trip_counts])
def test_gradients_are_counted(remat, change):
  text = cpu_text(jax.grad(lambda w, x: loss(w, x, remat=remat)))
  # A product forward, two backward, and one more where it is done again.
  assert cost_of(change(text)).flops == (3 + remat) * INNER * OUTER * PRODUCT


def test_a_loop_of_unknown_length_is_named():
  def halve(x):
    step = lambda x: (x @ x) / 2  # noqa: E731
    return jax.lax.while_loop(lambda x: jnp.sum(x) > 1, step, x)

  cost = cost_of(compiled_text(halve, jnp.ones((WIDTH, WIDTH))))
  assert len(cost.unknown_loops) == 1
  assert cost.flops == 2 * WIDTH**3
  assert 'counted once' in cost.lines()[-1]


@pytest.mark.parametrize(
  'first, test, step, trips',
  [
    (0, 'LT', 1, 10),
    (1, 'LT', 1, 9),
    (0, 'LE', 1, 11),
    (1, 'LT', 2, 5),
    (0, 'NE', 2, 5),
    (30, 'GT', -2, 10),
    (30, 'GE', -2, 11),
    (12, 'LT', 1, 0),
  ],
)
@pytest.mark.parametrize('carried', [False, True])
@pytest.mark.parametrize('swapped', [False, True])
def test_trips_follow_from_the_condition(
  first, test, step, trips, carried, swapped
):
  """Peeled loops, other steps, and a bound that the loop carries along."""
  flipped = {'LT': 'GT', 'LE': 'GE', 'GT': 'LT', 'GE': 'LE', 'NE': 'NE'}
  sides, test = ('%end, %m', flipped[test]) if swapped else ('%m, %end', test)
  bound = 'get-tuple-element(%c), index=1' if carried else 'constant(10)'
  text = f"""
%body (b: (s32[], s32[])) -> (s32[], s32[]) {{
  %b = (s32[], /*index=1*/s32[]) parameter(0)
  %n = s32[] get-tuple-element(%b), index=0
  %k = s32[] get-tuple-element(%b), index=1
  %step = s32[] constant({step})
  %next = s32[] add(%n, %step)
  ROOT %t = (s32[], s32[]) tuple(%next, %k)
}}

%condition (c: (s32[], s32[])) -> pred[] {{
  %c = (s32[], s32[]) parameter(0)
  %m = s32[]{{:T(128)}} get-tuple-element(%c), index=0
  %end = s32[]{{:T(128)}} {bound}
  ROOT %test = pred[]{{:T(512)}} compare({sides}), direction={test}
}}

ENTRY %main () -> s32[] {{
  %first = s32[] constant({first})
  %ten = s32[] constant(10)
  %state = (s32[], s32[]) tuple(%first, %ten)
  ROOT %loop = (s32[], s32[]) while(%state), condition=%condition, body=%body
}}
"""
  module = hlo.parse(text)
  main = module.computations[module.entry]
  assert module.trips(main, main.instructions['loop']) == trips


@pytest.mark.parametrize('stride, dilation', [(1, 1), (2, 1), (1, 3)])
def test_convolutions_are_counted_as_xla_counts_them(stride, dilation):
  def convolve(x, kernel):
    return jax.lax.conv_general_dilated(
      x, kernel, (stride,), [(2, 4)], lhs_dilation=(dilation,)
    )

  arguments = jnp.ones((2, 6, 40)), jnp.ones((10, 6, 5))
  compiled = jax.jit(convolve).lower(*arguments).compile()
  flops = cost_of(compiled.as_text()).flops
  assert flops == compiled.cost_analysis()['flops'] > 0


@pytest.mark.parametrize(
  ('left', 'right', 'narrow'),
  [
    ('s8', 's8', {'int8': 1024}),
    ('f8e4m3fn', 'f8e5m2', {'fp8': 1024}),
    ('s8', 'bf16', {}),
    ('s8', 'f8e5m2', {}),
    ('bf16', 'bf16', {}),
    ('s32', 's32', {}),
  ],
)
@pytest.mark.parametrize(
  'product',
  [
    'dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}',
    'convolution(%a, %b), dim_labels=bf_io->bf',
  ],
)
def test_products_in_8_bits_are_counted_apart(left, right, narrow, product):
  text = f"""
ENTRY %main (a: {left}[8,8], b: {right}[8,8]) -> f32[8,8] {{
  %a = {left}[8,8]{{1,0}} parameter(0)
  %b = {right}[8,8]{{1,0}} parameter(1)
  ROOT %d = f32[8,8]{{1,0}} {product}
}}
"""
  cost = cost_of(text)
  assert cost.flops == 1024
  assert cost.narrow_flops == narrow
  told = [line.split() for line in cost.lines() if 'flops in' in line]
  assert told == [['flops', 'in', kind, '1024'] for kind in narrow]


def test_instructions_over_several_lines():
  text = """
ENTRY %main (x: f32[8]) -> f32[8] {
  %x = f32[8]{0} parameter(0)
  ROOT %k.2 = f32[8]{0} custom-call(%x), custom_call_target="tpu_custom_call", \
frontend_attributes={kernel_metadata={
"block":"8"
}}, metadata={op_name="jit(f)/attend/pallas_call"}
}
"""
  cost = cost_of(text)
  assert cost.custom_calls == {'tpu_custom_call': 1}
  assert cost.kernels == {'attend': 1}
  assert cost.lines()[-1] == 'kernel attend     1 (flops not counted)'


def test_cycles_of_a_fusion_are_those_of_the_whole():
  """And what the compiler can't estimate counts nothing."""
  text = """
%inside (a: f32[8,8]) -> f32[8,8] {
  %a = f32[8,8]{1,0} parameter(0)
  ROOT %d = f32[8,8]{1,0} dot(%a, %a), lhs_contracting_dims={1}, \
rhs_contracting_dims={0}, backend_config={"estimated_cycles":"5"}
}

ENTRY %main (x: f32[8,8]) -> f32[8,8] {
  %x = f32[8,8]{1,0} parameter(0)
  %n = f32[8,8]{1,0} copy(%x), \
backend_config={"estimated_cycles":"9223372036854775807"}
  %c = f32[8,8]{1,0} copy(%n), backend_config={"estimated_cycles":"2"}
  ROOT %f = f32[8,8]{1,0} fusion(%c), kind=kOutput, calls=%inside, \
backend_config={"window_config":{"estimated_cycles":"30"}}
}
"""
  cost = cost_of(text)
  assert (cost.cycles, cost.flops) == (32, 2 * 8**3)


def test_the_dearest_branch_is_counted():
  def choose(pick, x):
    dear, cheap = (lambda x: x @ x @ x), (lambda x: jnp.sin(x))
    return jax.lax.cond(pick, dear, cheap, x)

  text = compiled_text(choose, True, jnp.ones((WIDTH, WIDTH)))
  assert ' conditional(' in text
  assert cost_of(text).flops == 2 * 2 * WIDTH**3


def test_copies_to_the_host_are_counted():
  """Whole, and slices of a buffer there, as scans keep their activations."""
  text = """
ENTRY %main (x: bf16[4,8], i: s32[]) -> bf16[4,8] {
  %x = bf16[4,8]{1,0:T(8,128)(2,1)} parameter(0)
  %i = s32[] parameter(1)
  %s = (bf16[4,8]{1,0:S(5)}, bf16[4,8]{1,0}, u32[]{:S(2)}) copy-start(%x)
  %h = bf16[4,8]{1,0:S(5)} copy-done(%s)
  %y = bf16[4,8]{1,0} copy(%h)
  %within = bf16[4,8]{1,0:S(1)} copy(%y)
  %b = bf16[9,8]{1,0:S(5)} custom-call(), custom_call_target="AllocateBuffer"
  %u = ((bf16[9,8]{1,0:S(5)}, bf16[4,8]{1,0}, s32[], s32[]), \
bf16[9,8]{1,0:S(5)}, u32[]) dynamic-update-slice-start(%b, %y, %i, %i)
  %d = bf16[9,8]{1,0:S(5)} dynamic-update-slice-done(%u)
  %r = ((bf16[9,8]{1,0:S(5)}, s32[], s32[]), bf16[4,8]{1,0}, u32[]) \
dynamic-slice-start(%d, %i, %i)
  ROOT %e = bf16[4,8]{1,0} dynamic-slice-done(%r)
}
"""
  assert cost_of(text).host_copies == Traffic(4, 4 * 64, 3)


def test_sizes_of_types():
  assert hlo.byte_count('(bf16[2,3]{1,0:T(8,128)}, /*index=1*/pred[5])') == 17
  assert hlo.byte_count('f8e4m3fn[4]') == 4
  assert hlo.byte_count('s4[3]') == 2
  assert hlo.byte_count('token[]') == 0


def test_other_text_is_refused():
  with pytest.raises(ValueError, match='no ENTRY'):
    cost_of('something else')


COLLECTIVES = """
import json
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from tpu_lm.compiled.cost import cost_of

mesh = jax.make_mesh((8,), ('x',), axis_types=(jax.sharding.AxisType.Auto,))

def one(x, _):
  x = jax.lax.all_gather(x, 'x', tiled=True) * 2
  x = jax.lax.psum_scatter(jnp.sin(x), 'x', tiled=True)
  x = jax.lax.psum(jnp.cos(x), 'x')
  x = jax.lax.ppermute(jnp.sin(x), 'x', [(i, (i + 1) % 8) for i in range(8)])
  x = jax.lax.all_to_all(jnp.cos(x), 'x', 0, 0, tiled=True)
  return x, None

def five(x):
  return jax.lax.scan(one, x, length=5)[0]

spread = jax.shard_map(five, mesh=mesh, in_specs=P('x'), out_specs=P('x'))
shape = jax.ShapeDtypeStruct((8 * 16, 32), jnp.float32)
text = jax.jit(spread).lower(shape).compile().as_text()
print(json.dumps(cost_of(text).collectives))
"""


def test_collectives_on_eight_devices():
  environment = {
    **os.environ,
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': '--xla_force_host_platform_device_count=8',
    'PYTHONPATH': os.pathsep.join(sys.path),
  }
  done = subprocess.run(
    [sys.executable, '-c', COLLECTIVES],
    env=environment,
    capture_output=True,
    text=True,
    check=True,
  )
  found = json.loads(done.stdout)
  # A device holds [16, 32] in float32.
  held = 16 * 32 * 4
  sizes = {kind: [count, size] for kind, (count, size, _) in found.items()}
  assert sizes == {
    'all-gather': [5, 5 * 8 * held],
    'reduce-scatter': [5, 5 * 8 * held],
    'all-reduce': [5, 5 * held],
    'collective-permute': [5, 5 * held],
    'all-to-all': [5, 5 * held],
  }
