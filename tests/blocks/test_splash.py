"""The kernel in blocks gives what attention written out gives."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tpu_lm.blocks import splash
from tpu_lm.blocks.attend import attend
from tpu_lm.blocks.attention import Attention
from tpu_lm.blocks.positions import Relative
from tpu_lm.blocks.visibility import both_ways, causal, prefix, within
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


CASES = {
  'causal': (causal(segments(S)), 0, {}),
  'both ways': (both_ways(segments(S), segments(S)), 0, {}),
  'to an encoder': (both_ways(segments(S), segments(T)), 0, {}),
  'window': (causal(segments(S)), 50, {}),
  'window of one block': (causal(segments(S)), 128, {}),
  'window both ways': (both_ways(segments(S), segments(S)), 50, {}),
  'softcap': (causal(segments(S)), 0, {'softcap': 2.0}),
  'scale': (causal(segments(S)), 0, {'scale': 1.0}),
}


@pytest.mark.parametrize(('heads', 'kv_heads'), [(4, 4), (4, 2), (2, 1)])
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_equals_attention_written_out(case, heads, kv_heads):
  visibility, window, logits = case
  keys = visibility.key_segments_BT.shape[1]
  inputs = arrays(heads, kv_heads, keys=keys)
  # What padding and what sees nothing gives is no one's: it is not compared.
  mask = within(visibility.mask, window)
  seen = jnp.any(mask, axis=-1)[:, 0, 0, :, None, None]
  used = seen & (visibility.query_segments_BS > 0)[..., None, None]
  factor = jax.random.normal(jax.random.key(9), inputs[0].shape) * used

  def plain(*inputs):
    return jnp.sum(attend(*inputs, mask, **logits) * factor)

  def blocks(*inputs):
    out = splash.attend(*inputs, visibility, window, **logits)
    return jnp.sum(out * factor)

  results = [
    jax.jit(jax.value_and_grad(function, argnums=(0, 1, 2)))(*inputs)
    for function in (plain, blocks)
  ]
  for one, other in zip(*map(jax.tree.leaves, results), strict=True):
    np.testing.assert_allclose(one, other, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'bias': True}, 'adds nothing to logits'),
    ({'dropout': True}, 'drops no'),
    ({'keys': 100}, '100 keys on a device are no multiple of 128'),
    ({'visibility': prefix(segments(S), segments(S))}, 'no prefixes'),
    ({}, None),
  ],
)
def test_what_it_can_not_do_is_told(changes, message):
  known = {
    'keys': S,
    'visibility': causal(segments(S)),
    'bias': False,
    'dropout': False,
  }
  told = splash.lacks((2, S, 4, HEAD_DIM), **(known | changes))
  assert (message is None and told is None) or message in told


def test_a_model_uses_it_for_windows_that_differ_by_layer():
  """Through the scan over layers, each with a window of its own."""
  logits = {}
  for kernel in ('plain', 'splash'):
    attention = Attention(windows=(40, 0, 100), kernel=kernel)
    model = tiny.decoder(layers=3, attention=attention)
    batch = tiny.batch(rows=2, length=128)
    params = model.init(jax.random.key(0))
    logits[kernel] = jax.jit(
      lambda params, batch, model=model: model.apply(params, batch).logits_BSV
    )(params, batch)
    used = batch['segments'] > 0
  np.testing.assert_allclose(
    logits['plain'][used], logits['splash'][used], atol=1e-4
  )


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
from tpu_lm.sharding import Mesh, batch_shardings, tree_shardings

def results(kernel, sizes):
  model = tiny.decoder(heads=4, kv_heads=2, attention=Attention(
    windows=(100, 0), kernel=kernel))
  batch = tiny.batch(rows=4, length=512)
  mesh = Mesh(**sizes).make()
  with jax.set_mesh(mesh):
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    places = tree_shardings(mesh, model.axes(), shapes)
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
  {'data': 2, 'sequence': 4},
]


def test_meshes_give_the_same():
  output = subprocess.run(
    [sys.executable, '-c', MESH_CODE, json.dumps(MESHES)],
    env={
      **os.environ,
      'XLA_FLAGS': '--xla_force_host_platform_device_count=8',
    },
    capture_output=True,
    text=True,
    check=False,
  )
  assert output.returncode == 0, output.stderr[-3000:]
  worst = [json.loads(line) for line in output.stdout.splitlines()]
  assert len(worst) == len(MESHES) and max(worst) < 1e-5, worst
