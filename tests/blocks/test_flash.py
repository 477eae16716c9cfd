"""The kernel for GPUs gives what attention written out gives, interpreted."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tests.blocks.test_splash import arrays, segments
from tpu_lm.blocks import attention, flash
from tpu_lm.blocks.attend import attend
from tpu_lm.blocks.attention import Attention
from tpu_lm.blocks.positions import Relative
from tpu_lm.blocks.visibility import both_ways, causal
from tpu_lm.checks import UserError

S = 192  # no multiple of the largest block
SEGMENTS = segments(S)
CASES = {
  'causal': (causal(SEGMENTS), {}),
  'both ways': (both_ways(SEGMENTS, SEGMENTS), {}),
  'scale': (causal(SEGMENTS), {'scale': 1.0}),
}


@pytest.mark.parametrize(('heads', 'kv_heads'), [(4, 4), (4, 2), (2, 1)])
@pytest.mark.parametrize('name', CASES)
def test_equals_attention_written_out(name, heads, kv_heads):
  """Values, and gradients of queries, keys and values."""
  visibility, logits = CASES[name]
  inputs = arrays(heads, kv_heads, queries=S, keys=S)
  used = (SEGMENTS > 0)[..., None, None]
  factor = jax.random.normal(jax.random.key(9), inputs[0].shape) * used

  def plain(*inputs):
    out = attend(*inputs, visibility.mask, **logits)
    return jnp.sum(out * factor), jnp.where(used, out, 0)

  def blocks(*inputs):
    out = flash.attend(*inputs, visibility, 0, **logits)
    return jnp.sum(out * factor), jnp.where(used, out, 0)

  want, got = (
    jax.jit(jax.value_and_grad(function, (0, 1, 2), has_aux=True))(*inputs)
    for function in (plain, blocks)
  )
  for one, other in zip(*map(jax.tree.leaves, (want, got)), strict=True):
    np.testing.assert_allclose(one, other, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize('kind', [tiny.decoder, tiny.encoder])
def test_a_model_uses_it(kind):
  """Through the scan over layers, with what remat computes again."""
  results = {}
  for kernel in ('plain', 'flash'):
    model = kind(attention=Attention(kernel=kernel), remat='full')
    batch = tiny.batch(rows=2, length=64)
    used = (batch['segments'] > 0)[..., None]

    def loss(params, model=model, batch=batch, used=used):
      logits = model.apply(params, batch).logits_BSV * used
      return jnp.sum(jax.nn.log_softmax(logits)[..., 5]), logits

    params = model.init(jax.random.key(0))
    run = jax.jit(jax.grad(loss, has_aux=True))
    results[kernel] = run(params)
    assert ('mha' in str(jax.make_jaxpr(run)(params))) == (kernel == 'flash')
  for one, other in zip(*map(jax.tree.leaves, results.values()), strict=True):
    scale = max(np.abs(one).max(), 1)
    np.testing.assert_allclose(one, other, atol=1e-4 * scale)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'windows': (4,)}, 'knows no windows'),
    ({'sinks': 'zero'}, 'knows no sinks'),
    ({'softcap': 30.0}, 'does not cap logits'),
  ],
)
def test_what_it_can_not_do_is_told(changes, message):
  model = tiny.decoder(attention=Attention(kernel='flash', **changes))
  params = model.init(jax.random.key(0))
  with pytest.raises(UserError, match=f"kernel = 'flash': it {message}"):
    model.apply(params, tiny.batch())


def test_other_rows_and_lengths_are_refused():
  seen = causal(segments(100))
  assert 'no multiple of 16' in flash.lacks((2, 100, 4, 16), 100, seen)
  other = both_ways(segments(S), segments(S, seed=1))
  assert 'of the same row' in flash.lacks((2, S, 4, 16), S, other)
  assert flash.lacks((2, S, 4, 16), S, CASES['causal'][0]) is None


def test_gpus_choose_it_where_they_can(monkeypatch):
  """And what is chosen becomes kernels in Triton, forward and backward."""
  for module in (attention, flash):
    monkeypatch.setattr(module, 'platform', lambda: 'gpu')
  batch = tiny.batch(rows=2, length=64)

  def program(**changes):
    model = tiny.decoder(dtype='bfloat16', **changes)
    params = model.init(jax.random.key(0))

    def loss(params):
      return jnp.sum(model.apply(params, batch).logits_BSV)

    traced = jax.jit(jax.grad(loss)).trace(params)
    return traced.lower(lowering_platforms=('cuda',)).as_text()

  assert program().count('__gpu$xla.gpu.triton') >= 2
  assert '__gpu$xla.gpu.triton' not in program(positions=Relative())


MESH_CODE = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
from tests import tiny
from tpu_lm.blocks.attention import Attention
from tpu_lm.checks import UserError
from tpu_lm.sharding import Mesh

def gradients(kernel, sizes):
  model = tiny.decoder(attention=Attention(kernel=kernel))
  batch = tiny.batch(rows=4, length=64)
  params = model.init(jax.random.key(0))
  used = (batch['segments'] > 0)[..., None]
  def loss(params):
    return jnp.sum((model.apply(params, batch).logits_BSV * used) ** 2)
  with jax.set_mesh(Mesh(**sizes).make()):
    return jax.device_get(jax.jit(jax.value_and_grad(loss))(params))

want = gradients('plain', {'data': 8})
for sizes in json.loads(sys.argv[1]):
  got = gradients('flash', sizes)
  worst = jax.tree.map(
    lambda a, b: float(np.abs(a - b).max() / np.abs(a).max()), want, got)
  print(json.dumps(max(jax.tree.leaves(worst))))
try:
  gradients('flash', {'data': 4, 'sequence': 2})
except UserError as error:
  print(error)
"""


def test_meshes_give_the_same_and_split_rows_are_refused():
  sizes = [{'data': 8}, {'data': 1, 'fsdp': 2, 'tensor': 4}]
  *errors, refused = tiny.on_devices(MESH_CODE, json.dumps(sizes))
  assert len(errors) == 2 and all(json.loads(line) < 1e-5 for line in errors)
  assert 'needs whole rows on a device' in refused
