"""Attention whose keys go round a ring gives what is written out; 8 devices."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tpu_lm.blocks.attention import Attention
from tpu_lm.checks import UserError

CODE = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
from tpu_lm.blocks import ring
from tpu_lm.blocks.attend import attend
from tpu_lm.blocks.visibility import both_ways, causal, within
from tpu_lm.sharding import Mesh

ring.BLOCK = 4
random, rows, length = np.random.default_rng(0), 8, 32

def segments(length):
  found = np.ones((rows, length), np.int32)
  found[:, 11:], found[0, 20:], found[:, -2:] = 2, 3, 0
  return jnp.array(found)

for case in json.loads(sys.argv[1]):
  heads, kv_heads = case['heads']
  keys = length if case['causal'] else 48
  own, other = segments(length), segments(keys)
  seen = causal(own) if case['causal'] else both_ways(own, other)
  query, key, value, gradient = (
    jnp.asarray(random.normal(size=(rows, n, h, 8)), jnp.float32)
    for n, h in ((length, heads), (keys, kv_heads), (keys, kv_heads),
                 (length, heads)))
  logits = {'scale': 0.7, 'softcap': case['softcap']}
  plain = lambda *x: attend(*x, within(seen.mask, case['window']), **logits)
  around = lambda *x: ring.attend(*x, seen, case['window'], **logits)
  def run(function):
    def both(*inputs):
      out, back = jax.vjp(function, *inputs)
      return out, back(gradient)
    return jax.jit(both)(query, key, value)
  results = [run(plain)]
  if case['mesh'] is None:
    results.append(run(around))
  else:
    with jax.set_mesh(Mesh(**case['mesh']).make()):
      results.append(run(around))
  worst = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), *results)
  print(json.dumps(max(jax.tree.leaves(worst))))
"""
MESHES = [
  None,  # a ring of one
  {'data': 8},
  {'data': 2, 'sequence': 4},
  {'data': 1, 'fsdp': 2, 'tensor': 2, 'sequence': 2},
  {'data': 1, 'tensor': 4, 'sequence': 2},  # more shards than key heads
]
RULES = [
  {'causal': True, 'window': 0, 'softcap': None},
  {'causal': True, 'window': 5, 'softcap': 3.0},
  {'causal': False, 'window': 0, 'softcap': 3.0},
  {'causal': False, 'window': 5, 'softcap': None},
]
CASES = [
  {'mesh': mesh, 'heads': heads, **rule}
  for mesh in MESHES
  for rule in RULES
  for heads in ([4, 2], [8, 1])
]


@pytest.mark.parametrize(
  'cases',
  [CASES[::3], pytest.param(CASES, marks=pytest.mark.slow)],
  ids=['some', 'all'],
)
def test_equals_attention_written_out(cases):
  """Values, and gradients of queries, keys and values."""
  lines = tiny.on_devices(CODE, json.dumps(cases))
  for case, line in zip(cases, lines, strict=True):
    assert json.loads(line) < 2e-5, case


HELD = """
import sys
import jax, jax.numpy as jnp
from tpu_lm.blocks import ring
from tpu_lm.blocks.visibility import causal
from tpu_lm.sharding import Mesh, batch_shardings

length = 4096
with jax.set_mesh(Mesh(data=1, sequence=8).make()):
  x = jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)
  segments = jax.ShapeDtypeStruct((1, length), jnp.int32)
  def loss(query, key, value, segments):
    def run(query, _):
      return ring.attend(query, key, value, causal(segments), 0), None
    if sys.argv[1] == 'computed again':
      run = jax.checkpoint(run, prevent_cse=False)
    return jax.lax.scan(run, query, None, length=2)[0].sum()
  gradients = jax.jit(jax.grad(loss, (0, 1, 2)))
  program = gradients.lower(x, x, x, segments).compile()
text = program.as_text()
print(text.count('collective-permute('), text.count(' all-gather('))
print(program.memory_analysis().temp_size_in_bytes)
"""


@pytest.mark.parametrize('how', ['kept', 'computed again'])
def test_no_device_gathers_the_keys_or_holds_all_logits(how):
  """Nor the mask, in layers that are scanned."""
  counts, held = tiny.on_devices(HELD, how)
  permuted, gathered = map(int, counts.split())
  assert permuted > 0 and gathered == 0
  logits = 4 * 2 * 4096 * 4096 // 8  # of the device's queries and all keys
  assert int(held) < logits / 2


def test_a_model_uses_it_for_windows_that_differ_by_layer():
  results = []
  for kernel in ('plain', 'ring'):
    attention = Attention(windows=(4, 0), kernel=kernel)
    model = tiny.decoder(attention=attention)
    batch = tiny.batch()
    used = (batch['segments'] > 0)[..., None]

    def loss(params, model=model, batch=batch, used=used):
      logits = model.apply(params, batch).logits_BSV * used
      return jnp.sum(jax.nn.log_softmax(logits)[..., 5]), logits

    params = model.init(jax.random.key(0))
    results.append(jax.jit(jax.grad(loss, has_aux=True))(params))
  for one, other in zip(*map(jax.tree.leaves, results), strict=True):
    np.testing.assert_allclose(one, other, atol=1e-4 * np.abs(one).max())


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'sinks': 'zero'}, 'it knows no sinks'),
    ({'windows': (4,), 'initial_tokens': 2}, 'tokens that no window hides'),
  ],
)
def test_what_it_can_not_do_is_told(changes, message):
  model = tiny.decoder(attention=Attention(kernel='ring', **changes))
  params = model.init(jax.random.key(0))
  with pytest.raises(UserError, match=f"kernel = 'ring': .*{message}"):
    model.apply(params, tiny.batch())
