"""A small model's parameters: stacked layers, attention, norms, embeddings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tpu_lm.tree import is_axes

SIZES = {
  'layers': 2,
  'vocab': 11,
  'embed': 8,
  'mlp': 12,
  'heads': 4,
  'kv_heads': 2,
  'head_dim': 5,
}
AXES = {
  'embedding': ('vocab', 'embed'),
  'layers': {
    'attention': {
      'query': ('layers', 'embed', 'heads', 'head_dim'),
      'key_bias': ('layers', 'kv_heads', 'head_dim'),
      'out': ('layers', 'heads', 'head_dim', 'embed'),
    },
    'mlp': {
      'up': ('layers', 'embed', 'mlp'),
      'down': ('layers', 'mlp', 'embed'),
    },
    'norm': ('layers', 'embed'),
  },
  'final_norm': ('embed',),
}
MATRICES = {
  'embedding',
  'layers/attention/query',
  'layers/attention/out',
  'layers/mlp/up',
  'layers/mlp/down',
}


def random_like_axes(axes, seed, scale):
  generator = np.random.default_rng(seed)

  def draw(names):
    shape = tuple(SIZES[name] for name in names)
    return jnp.asarray(scale * generator.standard_normal(shape), jnp.float32)

  return jax.tree.map(draw, axes, is_leaf=is_axes)


@pytest.fixture
def axes():
  return AXES


@pytest.fixture
def matrices():
  """Paths of the parameters that are matrices."""
  return MATRICES


@pytest.fixture
def params(axes):
  return random_like_axes(axes, seed=0, scale=0.1)


@pytest.fixture
def gradients(axes):
  """Five trees of gradients."""
  return [random_like_axes(axes, seed, scale=1.0) for seed in range(1, 6)]


@pytest.fixture
def zeros(params):
  return jax.tree.map(jnp.zeros_like, params)


@pytest.fixture
def descend():
  """(transformation, params, gradients, rate) -> (params, state)."""

  def run(transformation, params, gradients, rate):
    @jax.jit
    def step(gradient, state, params):
      direction, state = transformation.update(gradient, state, params)
      params = jax.tree.map(lambda p, d: p - rate * d, params, direction)
      return params, state

    state = jax.jit(transformation.init)(params)
    for gradient in gradients:
      params, state = step(gradient, state, params)
    return params, state

  return run
