"""What every model promises."""

import dataclasses
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tpu_lm.checks import UserError
from tpu_lm.models.decoder import REMAT_POLICIES
from tpu_lm.tree import is_axes, named_paths

MODELS = {
  'decoder': tiny.decoder(),
  'decoder_untied': tiny.decoder(tied_embeddings=False),
  'decoder_query_key_norm': tiny.decoder(query_key_norm=True),
  'decoder_multi_query': tiny.decoder(kv_heads=1),
  'decoder_wide_heads': tiny.decoder(head_dim=16),
}


@pytest.fixture(params=MODELS.values(), ids=MODELS)
def model(request):
  return request.param


def apply(model, params, batch):
  keys = ['inputs', 'segments', 'positions']
  return model.apply(params, *(batch[key] for key in keys)).logits_BSV


@pytest.fixture
def params(model):
  return jax.jit(model.init)(jax.random.key(0))


def test_axes_name_every_dimension(model, params):
  axes = named_paths(model.axes(), is_axes)
  leaves = named_paths(params)
  assert list(axes) == list(leaves)
  for name, leaf in leaves.items():
    assert len(axes[name]) == leaf.ndim, name
    assert leaf.dtype == jnp.float32
    assert (axes[name][0] == 'layers') == name.startswith('layers/')


def test_parameters_are_nested_dicts(params):
  def check(node):
    if isinstance(node, dict):
      assert all(type(key) is str for key in node)
      list(map(check, node.values()))
    else:
      assert isinstance(node, jax.Array)

  check(params)


def test_starts_near_uniform(model, params):
  logits = apply(model, params, tiny.batch())
  assert logits.dtype == jnp.float32
  losses = -jax.nn.log_softmax(logits)
  assert abs(losses.mean() - np.log(259)) < 1.0


def test_no_leak_from_the_future(model, params):
  batch = tiny.batch()
  before = apply(model, params, batch)
  batch['inputs'] = batch['inputs'].copy()
  batch['inputs'][:, 9] = 7
  after = apply(model, params, batch)
  np.testing.assert_array_equal(before[:, :9], after[:, :9])
  assert not np.array_equal(before[:, 9:], after[:, 9:])


def test_no_leak_across_documents(model, params):
  batch = tiny.batch()
  before = apply(model, params, batch)
  batch['inputs'] = batch['inputs'].copy()
  batch['inputs'][:, :5] = 7  # the first document
  after = apply(model, params, batch)
  np.testing.assert_array_equal(before[:, 5:], after[:, 5:])
  assert not np.array_equal(before[:, :5], after[:, :5])


def test_a_packed_document_is_as_alone(model, params):
  packed = tiny.batch()
  alone = {
    'inputs': packed['inputs'][:, 5:15],
    'segments': np.ones((4, 10), np.int32),
    'positions': np.tile(np.arange(10, dtype=np.int32), (4, 1)),
  }
  np.testing.assert_allclose(
    apply(model, params, packed)[:, 5:15],
    apply(model, params, alone),
    atol=2e-5,
  )


def test_row_order_changes_nothing(model, params):
  batch = tiny.batch()
  turned = {key: value[::-1] for key, value in batch.items()}
  np.testing.assert_allclose(
    apply(model, params, batch),
    apply(model, params, turned)[::-1],
    atol=1e-5,
  )


@pytest.mark.parametrize('remat', REMAT_POLICIES)
def test_scan_remat_and_unroll_agree(model, params, remat):
  def loss(model, params):
    return jnp.mean(jax.nn.log_softmax(apply(model, params, tiny.batch())) ** 2)

  same = dataclasses.replace(model, remat=remat, unroll=2)
  want, want_grads = jax.jit(jax.value_and_grad(lambda p: loss(model, p)))(
    params
  )
  got, got_grads = jax.jit(jax.value_and_grad(lambda p: loss(same, p)))(params)
  np.testing.assert_allclose(got, want, rtol=1e-6)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-4),
    got_grads,
    want_grads,
  )


def test_layers_equal_an_unrolled_loop(model, params):
  """The scan does what applying single-layer models one by one would."""
  one = dataclasses.replace(model, layers=1)
  shallow = [
    {
      **params,
      'layers': jax.tree.map(lambda x, i=i: x[i : i + 1], params['layers']),
    }
    for i in range(model.layers)
  ]
  both = jax.tree.map(
    lambda a, b: jnp.concatenate([a, b]), *(s['layers'] for s in shallow)
  )
  np.testing.assert_array_equal(
    apply(model, {**params, 'layers': both}, tiny.batch()),
    apply(model, params, tiny.batch()),
  )
  first = apply(one, shallow[0], tiny.batch())
  assert not np.array_equal(first, apply(model, params, tiny.batch()))


def test_bfloat16_is_close(model, params):
  half = dataclasses.replace(model, dtype='bfloat16')
  np.testing.assert_allclose(
    apply(half, params, tiny.batch()),
    apply(model, params, tiny.batch()),
    atol=0.15,
  )


@pytest.mark.parametrize(
  ('field', 'value'),
  [
    ('layers', 0),
    ('heads', 3),
    ('head_dim', 7),
    ('embed', 32.0),
    ('dtype', 'float16'),
    ('remat', 'ful'),
    ('tied_embeddings', 1),
    ('rotary_base', -1.0),
  ],
)
def test_bad_values_are_told_with_their_key(field, value):
  with pytest.raises(UserError, match='Decoder'):
    tiny.decoder(**{field: value})


def test_both_nnx_modes():
  """NNX's announced new defaults give the same axes and logits."""
  code = (
    'import jax; from tests import tiny; m = tiny.decoder();'
    'p = m.init(jax.random.key(0)); b = tiny.batch();'
    "print(m.axes()['layers']['attention']['query'],"
    " float(m.apply(p, b['inputs'], b['segments'], b['positions'])"
    '.logits_BSV.sum()))'
  )
  outputs = {
    subprocess.run(
      [sys.executable, '-c', code],
      env={**os.environ, 'NNX_GRAPH_MODE': mode, 'NNX_GRAPH_UPDATES': mode},
      capture_output=True,
      text=True,
      check=True,
    ).stdout
    for mode in ('true', 'false')
  }
  assert len(outputs) == 1
  assert "('layers', 'embed', 'heads', 'head_dim')" in outputs.pop()
