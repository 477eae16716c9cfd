"""The kernel in blocks gives what attention written out gives."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tpu_lm.blocks import splash
from tpu_lm.blocks.attend import attend
from tpu_lm.blocks.attention import Attention
from tpu_lm.blocks.positions import Relative
from tpu_lm.blocks.visibility import both_ways, causal, initial, within
from tpu_lm.checks import UserError

S, T, HEAD_DIM = 256, 384, 16


def segments(length, seed=0):
  """Two rows of packed documents, padded; a document may be of one token."""
  rng = np.random.default_rng(seed)
  rows = np.zeros((2, length), np.int32)
  for row, used in zip(rows, (length, length - 37), strict=True):
    cuts = np.sort(rng.choice(used, 4, replace=False))
    row[:used] = np.searchsorted(cuts, np.arange(used), side='right') + 1
  return jnp.array(rows)


def arrays(heads, kv_heads, queries=S, keys=S):
  shapes = [(queries, heads), (keys, kv_heads), (keys, kv_heads)]
  return [
    jax.random.normal(jax.random.key(i), (2, *shape, HEAD_DIM))
    for i, shape in enumerate(shapes)
  ]


def case(visibility, window=0, initial_tokens=None, sinks=False, **logits):
  kept_BT = None
  if initial_tokens is not None:
    kept_BT = initial(visibility.key_segments_BT, initial_tokens)
  return visibility, window, kept_BT, sinks, logits


CAUSAL = causal(segments(S))
BOTH_WAYS = both_ways(segments(S), segments(S))
TO_ENCODER = both_ways(segments(S), segments(T))
CASES = {
  'causal': case(CAUSAL),
  'both ways': case(BOTH_WAYS),
  'to an encoder': case(TO_ENCODER),
  'window': case(CAUSAL, 50),
  'window of one block': case(CAUSAL, 128),
  'window both ways': case(BOTH_WAYS, 50),
  'softcap': case(CAUSAL, softcap=2.0),
  'scale': case(CAUSAL, scale=1.0),
  'initial tokens': case(CAUSAL, 20, 3),
  'initial tokens beyond a window': case(CAUSAL, 20, 40),
  'initial tokens, window of one block': case(CAUSAL, 128, 1),
  'initial tokens, all is near': case(CAUSAL, S, 4),
  'initial tokens, no window': case(CAUSAL, 0, 4),
  'initial tokens both ways': case(BOTH_WAYS, 20, 40),
  'sinks': case(CAUSAL, sinks=True),
  'sinks and the rest': case(CAUSAL, 20, 3, sinks=True, softcap=2.0),
}


GROUPS = [(4, 4), (4, 2), (2, 1)]
GROUPED = [
  (name, *heads)
  for name, (_, _, kept_BT, sinks, _) in CASES.items()
  for heads in (GROUPS if sinks or kept_BT is None else GROUPS[1:2])
]


@pytest.mark.parametrize(('name', 'heads', 'kv_heads'), GROUPED)
def test_equals_attention_written_out(name, heads, kv_heads):
  visibility, window, kept_BT, sinks, logits = CASES[name]
  keys = visibility.key_segments_BT.shape[1]
  inputs = arrays(heads, kv_heads, keys=keys)
  if sinks:
    inputs.append(2 * jax.random.normal(jax.random.key(8), (heads,)))
  # What padding and what sees nothing gives is no one's: it is not compared.
  mask = within(visibility.mask, window, kept_BT)
  seen = jnp.any(mask, axis=-1)[:, 0, 0, :, None, None]
  used = seen & (visibility.query_segments_BS > 0)[..., None, None]
  factor = jax.random.normal(jax.random.key(9), inputs[0].shape) * used

  def plain(query, keys, values, sinks_H=None):
    out = attend(query, keys, values, mask, sinks_H=sinks_H, **logits)
    return jnp.sum(out * factor), jnp.where(used, out, 0)

  def blocks(query, keys, values, sinks_H=None):
    out = splash.attend(
      query,
      keys,
      values,
      visibility,
      window,
      kept_BT=kept_BT,
      sinks_H=sinks_H,
      **logits,
    )
    return jnp.sum(out * factor), jnp.where(used, out, 0)

  results = [
    jax.jit(jax.value_and_grad(function, range(len(inputs)), has_aux=True))(
      *inputs
    )
    for function in (plain, blocks)
  ]
  assert all(jnp.any(gradient != 0) for gradient in results[0][1])
  for one, other in zip(*map(jax.tree.leaves, results), strict=True):
    np.testing.assert_allclose(one, other, atol=2e-4, rtol=1e-4)


def test_sinks_have_gradients_in_float32():
  """Also where queries are not: rows' are added up as they are written out."""
  inputs = [x.astype(jnp.bfloat16) for x in arrays(4, 2)]
  sinks_H = 2 * jax.random.normal(jax.random.key(8), (4,))
  used = (CAUSAL.query_segments_BS > 0)[..., None, None]
  factor = jax.random.normal(jax.random.key(9), inputs[0].shape) * used

  def plain(sinks_H):
    whole = [x.astype(jnp.float32) for x in inputs]
    return jnp.sum(attend(*whole, CAUSAL.mask, sinks_H=sinks_H) * factor)

  def blocks(sinks_H):
    out = splash.attend(*inputs, CAUSAL, 0, sinks_H=sinks_H)
    return jnp.sum(out.astype(jnp.float32) * factor)

  want, got = jax.grad(plain)(sinks_H), jax.jit(jax.grad(blocks))(sinks_H)
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got, want, atol=0.02 * np.abs(want).max())


def test_initial_tokens_begin_with_each_document():
  segments_BT = jnp.array([[1, 1, 1, 2, 3, 3, 0, 0], [1, 1, 1, 1, 1, 2, 2, 2]])
  want = [[1, 1, 0, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 1, 1, 0]]
  assert initial(segments_BT, 2).astype(int).tolist() == want


def test_what_it_can_not_do_is_told():
  seen = causal(segments(S))
  shape = (2, S, 4, HEAD_DIM)
  assert splash.lacks(shape, S, seen) is None
  told = splash.lacks(shape, 100, seen)
  assert '100 keys on a device are no multiple of 128' in told


@pytest.mark.parametrize(
  'more', [{}, {'initial_tokens': 3, 'sinks': 'learned'}], ids=str
)
def test_a_model_uses_it_for_windows_that_differ_by_layer(more):
  """Through the scan over layers, each with a window of its own."""
  results = {}
  for kernel in ('plain', 'splash'):
    attention = Attention(windows=(40, 0, 100), kernel=kernel, **more)
    model = tiny.decoder(layers=3, attention=attention)
    batch = tiny.batch(rows=2, length=256)
    used = (batch['segments'] > 0)[..., None]

    def loss(params, model=model, batch=batch, used=used):
      logits = model.apply(params, batch).logits_BSV * used
      return jnp.sum(jax.nn.log_softmax(logits)[..., 5]), logits

    params = model.init(jax.random.key(0))
    results[kernel] = jax.jit(jax.grad(loss, has_aux=True))(params)
  if more:
    assert np.all(results['plain'][0]['layers']['attention']['sinks'] != 0)
  for one, other in zip(*map(jax.tree.leaves, results.values()), strict=True):
    scale = np.abs(one).max()
    np.testing.assert_allclose(one, other, atol=1e-4 * max(scale, 1))


@pytest.mark.parametrize('kernel', ['splash', 'auto'])
def test_relative_positions_need_the_plain_one(kernel):
  model = tiny.decoder(positions=Relative(), attention=Attention(kernel=kernel))
  batch = tiny.batch(rows=1, length=128)
  params = model.init(jax.random.key(0))
  if kernel == 'auto':
    assert np.isfinite(model.apply(params, batch).logits_BSV).all()
  else:
    with pytest.raises(UserError, match='adds nothing to logits'):
      model.apply(params, batch)


def test_mistakes():
  with pytest.raises(UserError, match=r'Attention\.kernel.*splash'):
    Attention(kernel='splach')


MESH_CODE = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
from tests import tiny
from tpu_lm.blocks.attention import Attention
from tpu_lm.objectives.cross_entropy import CrossEntropy
from tpu_lm.sharding import Mesh, batch_shardings, state_shardings

def results(kernel, sizes):
  model = tiny.decoder(heads=4, kv_heads=2, attention=Attention(
    windows=(100, 0), initial_tokens=3, sinks='learned', kernel=kernel))
  batch = tiny.batch(rows=4, length=512)
  mesh = Mesh(**sizes).make()
  with jax.set_mesh(mesh):
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    places = state_shardings(mesh, model.axes(), shapes, shapes)
    params = jax.jit(model.init, out_shardings=places)(jax.random.key(0))
    batch = jax.device_put(batch, batch_shardings(mesh, batch))
    def loss(params):
      total, metrics, _ = CrossEntropy()(
        lambda batch: model.apply(params, batch), batch, jax.random.key(0))
      return total / jnp.sum(batch['weights'])
    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    return jax.device_get((value, gradient))

want = results('plain', {'data': 8 // 8, 'fsdp': 1, 'tensor': 1, 'sequence': 8})
for sizes in json.loads(sys.argv[1]):
  got = results('splash', sizes)
  worst = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), want, got)
  print(json.dumps(max(jax.tree.leaves(worst))))
"""
MESHES = [
  {'data': 2, 'fsdp': 1, 'tensor': 2, 'sequence': 2},
  {'data': 1, 'fsdp': 2, 'tensor': 4},  # more shards than key heads
]


def test_meshes_give_the_same():
  lines = tiny.on_devices(MESH_CODE, json.dumps(MESHES))
  worst = [json.loads(line) for line in lines]
  assert len(worst) == len(MESHES) and max(worst) < 1e-5, worst
