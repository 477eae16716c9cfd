"""One suite for every optimizer: add a line to OPTIMIZERS."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tpu_lm.checks import UserError
from tpu_lm.optimizers.adafactor import Adafactor
from tpu_lm.optimizers.adamw import AdamW
from tpu_lm.optimizers.lion import Lion
from tpu_lm.optimizers.muon import Muon
from tpu_lm.optimizers.sgd import SGD
from tpu_lm.tree import is_axes, named_paths

# name: (class, fields)
OPTIMIZERS = {
  'adamw': (AdamW, {}),
  'adamw_bfloat16': (
    AdamW,
    {'first_moment': 'bfloat16', 'second_moment': 'bfloat16'},
  ),
  'adafactor': (Adafactor, {'factor_from': 4}),
  'lion': (Lion, {}),
  'muon': (Muon, {}),
  'sgd': (SGD, {}),
}


@pytest.fixture(params=OPTIMIZERS)
def make(request, axes):
  """Fields to a transformation over the example's axes."""
  kind, given = OPTIMIZERS[request.param]
  return lambda axes=axes, **fields: kind(**given, **fields).make(axes)


def close(actual, expected, **tolerance):
  jax.tree.map(
    lambda a, e: np.testing.assert_allclose(a, e, **tolerance), actual, expected
  )


def test_one_step_descends(make, params):
  def loss(params):
    return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))

  optimizer = make(weight_decay=0.0)
  gradients = jax.grad(loss)(params)
  direction, _ = optimizer.update(gradients, optimizer.init(params), params)
  after = jax.tree.map(lambda p, d: p - 1e-3 * d, params, direction)
  for before, later in zip(jax.tree.leaves(params), jax.tree.leaves(after)):
    assert jnp.sum(later**2) < jnp.sum(before**2)


def test_without_gradients_only_matrices_decay(make, params, zeros, matrices):
  optimizer = make(weight_decay=0.1)
  direction, _ = optimizer.update(zeros, optimizer.init(params), params)
  values = named_paths(params)
  for path, leaf in named_paths(direction).items():
    expected = 0.1 * values[path] if path in matrices else 0 * values[path]
    np.testing.assert_allclose(leaf, expected, rtol=1e-6, err_msg=path)


def test_decay_paths_choose_what_decays(make, params, zeros):
  optimizer = make(weight_decay=0.1, decay_paths=['norm$', 'mlp/up'])
  direction, _ = optimizer.update(zeros, optimizer.init(params), params)
  decayed = {path for path, d in named_paths(direction).items() if d.any()}
  assert decayed == {'final_norm', 'layers/norm', 'layers/mlp/up'}


def test_multipliers_scale_the_direction(make, params, gradients):
  plain = make(weight_decay=0.1)
  scaled = make(
    weight_decay=0.1, multipliers={'mlp': 0.5, 'mlp/up': 3.0, '^emb': 0}
  )
  factors = {'layers/mlp/up': 1.5, 'layers/mlp/down': 0.5, 'embedding': 0.0}
  one, _ = plain.update(gradients[0], plain.init(params), params)
  other, _ = scaled.update(gradients[0], scaled.init(params), params)
  one = named_paths(one)
  for path, leaf in named_paths(other).items():
    expected = one[path] * factors.get(path, 1.0)
    np.testing.assert_allclose(leaf, expected, rtol=1e-6, err_msg=path)


@pytest.mark.parametrize(
  'fields', [{'multipliers': {'atention': 2.0}}, {'decay_paths': ['atention']}]
)
def test_a_path_that_matches_nothing_is_told(make, fields):
  (field,) = fields
  with pytest.raises(
    UserError, match=rf"\.{field}: 'atention' matches no path"
  ):
    make(**fields)


def test_clipping_bounds_the_gradients(make, params, gradients, descend):
  """Gradients of norm 100 clipped to 1 are those gradients / 100."""
  norm = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(gradients[0])))
  unit = jax.tree.map(lambda g: g / norm, gradients[0])
  large = jax.tree.map(lambda g: 100 * g, unit)
  clipped, _ = descend(make(clip=1.0), params, [large], 1e-2)
  free, _ = descend(make(clip=None), params, [unit], 1e-2)
  close(clipped, free, rtol=1e-5, atol=1e-6)


def test_jit_equals_eager(make, params, gradients):
  optimizer = make()
  state = optimizer.init(params)
  close(jax.jit(optimizer.init)(params), state, rtol=0)
  eager = optimizer.update(gradients[0], state, params)
  jitted = jax.jit(optimizer.update)(gradients[0], state, params)
  close(jitted, eager, rtol=1e-5, atol=1e-6)


def test_structures_do_not_change(make, params, gradients):
  optimizer = make()
  state = optimizer.init(params)
  direction, after = optimizer.update(gradients[0], state, params)
  for old, new in ((params, direction), (state, after)):
    assert jax.tree.structure(old) == jax.tree.structure(new)
    old, new = named_paths(old), named_paths(new)
    assert {k: (v.shape, v.dtype) for k, v in old.items()} == {
      k: (v.shape, v.dtype) for k, v in new.items()
    }


def test_turning_parts_off_keeps_the_structure(make, params):
  on = make(weight_decay=0.1, multipliers={'mlp': 0.5}).init(params)
  off = make(clip=None, weight_decay=0.0).init(params)
  assert jax.tree.structure(on) == jax.tree.structure(off)


def test_state_is_restored_from_its_named_arrays(make, params, gradients):
  """What a checkpoint keeps is names and arrays; they are the whole state."""
  optimizer = make()
  _, state = optimizer.update(gradients[0], optimizer.init(params), params)
  saved = {path: np.asarray(leaf) for path, leaf in named_paths(state).items()}
  blank = jax.eval_shape(optimizer.init, params)
  restored = jax.tree.unflatten(
    jax.tree.structure(blank), [saved[path] for path in named_paths(blank)]
  )
  one, _ = optimizer.update(gradients[1], state, params)
  other, _ = optimizer.update(gradients[1], restored, params)
  close(other, one, rtol=0)


def test_a_moment_is_named_after_its_parameter(make, params):
  """Sharding finds the moments of a parameter by name and shape."""
  shapes = {path: leaf.shape for path, leaf in named_paths(params).items()}
  for path, leaf in named_paths(make().init(params)).items():
    parts = path.split('/')
    assert leaf.ndim <= 1 or any(
      '/'.join(parts[start:]) in shapes for start in range(len(parts))
    )


def test_stacked_layers_are_as_separate_ones(
  make, axes, params, gradients, descend
):
  """A layer's direction is the same however layers are stored."""
  stacked, _ = descend(make(), params, gradients[:2], 1e-2)
  separate, _ = descend(
    make(separate_axes(axes)),
    unstack(params),
    [unstack(gradient) for gradient in gradients[:2]],
    1e-2,
  )
  close(unstack(stacked), separate, rtol=0, atol=1e-6)


def unstack(tree):
  """`layers` as `layer_0`, `layer_1`, ..., each without the first dimension."""
  rest = {key: value for key, value in tree.items() if key != 'layers'}
  return rest | {
    f'layer_{i}': jax.tree.map(lambda x, i=i: x[i], tree['layers'])
    for i in range(2)
  }


def separate_axes(axes):
  inner = jax.tree.map(lambda a: a[1:], axes['layers'], is_leaf=is_axes)
  rest = {key: value for key, value in axes.items() if key != 'layers'}
  return rest | {f'layer_{i}': inner for i in range(2)}


@pytest.mark.parametrize(
  'kind, field, value',
  [
    (AdamW, 'b1', 1.0),
    (AdamW, 'b2', -0.1),
    (AdamW, 'eps', 0),
    (AdamW, 'clip', 0.0),
    (AdamW, 'clip', True),
    (AdamW, 'weight_decay', -0.1),
    (AdamW, 'weight_decay', '0.1'),
    (AdamW, 'decay_paths', 'mlp'),
    (AdamW, 'multipliers', ['mlp']),
    (AdamW, 'multipliers', {'mlp': -1}),
    (Adafactor, 'decay_rate', 0),
    (Adafactor, 'threshold', 0),
    (Adafactor, 'relative', 1),
    (Adafactor, 'factor_from', 0.5),
    (Lion, 'b2', 1),
    (Muon, 'beta', 1),
    (Muon, 'iterations', 0),
    (Muon, 'rms', 0),
    (SGD, 'momentum', 1),
    (SGD, 'nesterov', 'yes'),
  ],
)
def test_bad_values_name_their_key(kind, field, value):
  with pytest.raises(UserError, match=f'{kind.__name__}.{field}'):
    kind(**{field: value})


def test_nesterov_needs_momentum():
  with pytest.raises(UserError, match=r'SGD\.nesterov'):
    SGD(momentum=0, nesterov=True)


def test_muon_wants_two_sides():
  with pytest.raises(UserError, match='other/up'):
    Muon().make({'other': {'up': ('buckets_of', 'embed', 'mlp')}})


def test_each_expert_is_a_matrix_to_muon():
  """A stack's direction is that of its matrices one by one."""
  key = jax.random.key(0)
  gradient = jax.random.normal(key, (2, 3, 8, 16))
  muon = Muon(clip=None, weight_decay=0.0)

  def direction(gradient, axes):
    optimizer = muon.make({'up': axes})
    tree = {'up': gradient}
    return optimizer.update(tree, optimizer.init(tree), tree)[0]['up']

  axes = ('layers', 'experts', 'embed', 'mlp')
  stacked = direction(gradient, axes)
  for layer in range(2):
    for expert in range(3):
      alone = direction(gradient[layer, expert], axes[2:])
      np.testing.assert_allclose(stacked[layer, expert], alone, atol=1e-5)
  # A router is one matrix, of as many columns as there are experts.
  routes = ('layers', 'embed', 'routes')
  stacked = direction(gradient[:, 0], routes)
  alone = direction(gradient[1, 0], routes[1:])
  np.testing.assert_allclose(stacked[1], alone, atol=1e-5)


def test_moments_in_bfloat16_halve_the_state_and_keep_the_direction(
  axes, params
):
  """Over a hundred updates with noise, against moments in float32."""
  whole = AdamW(clip=None).make(axes)
  halves = AdamW(
    clip=None, first_moment='bfloat16', second_moment='bfloat16'
  ).make(axes)
  states = [optimizer.init(params) for optimizer in (whole, halves)]
  sizes = [
    sum(leaf.nbytes for leaf in jax.tree.leaves(state)) for state in states
  ]
  assert sizes[1] < 0.51 * sizes[0]
  for step in range(100):
    keys = jax.random.split(jax.random.key(step), len(jax.tree.leaves(params)))
    gradients = jax.tree.unflatten(
      jax.tree.structure(params),
      [
        1 + jax.random.normal(key, leaf.shape)
        for key, leaf in zip(keys, jax.tree.leaves(params))
      ],
    )
    one, states[0] = whole.update(gradients, states[0], params)
    other, states[1] = halves.update(gradients, states[1], params)
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other)):
    assert jnp.linalg.norm(a - b) < 0.01 * jnp.linalg.norm(a)


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'first_moment': 'float16'}, r'AdamW\.first_moment'),
    ({'second_moment': 'bfloat16', 'b2': 0.999}, r'AdamW\.b2 = 0\.999'),
  ],
)
def test_bad_dtypes_of_moments(fields, message):
  with pytest.raises(UserError, match=message):
    AdamW(**fields)
