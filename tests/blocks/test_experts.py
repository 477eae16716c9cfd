"""Experts: what is computed, what balances them, and that it does."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tests import tiny
from tpu_lm.blocks.activations import ACTIVATIONS
from tpu_lm.blocks.experts import Experts
from tpu_lm.blocks.grouped import by_kernel
from tpu_lm.blocks.quantized import Quantization
from tpu_lm.checks import UserError
from tpu_lm.lineage import definition
from tpu_lm.models.modules import graph_of, params_of
from tpu_lm.objectives.cross_entropy import CrossEntropy
from tpu_lm.phase import Run
from tpu_lm.sharding import Mesh

EMBED, MLP = 16, 24
ROWS, LENGTH = 3, 20


def layer_of(spec, seed=0):
  def make(rngs):
    return spec.make(EMBED, MLP, MLP**-0.5, rngs)

  params = params_of(make(nnx.Rngs(params=jax.random.key(seed))))
  graph = graph_of(make)
  return params, lambda params, *args: nnx.merge(graph, params)(*args)


def inputs(seed=0):
  x_BSD = jax.random.normal(jax.random.key(seed), (ROWS, LENGTH, EMBED))
  real_BS = jnp.ones((ROWS, LENGTH), bool).at[:, -4:].set(False)
  return x_BSD, real_BS


def dense(spec, params, x_BSD, real_BS):
  """Every expert for every token, and a mask: the specification."""
  activation = ACTIVATIONS[spec.activation]
  share_BSE = jax.nn.softmax(
    jnp.matmul(x_BSD, params['router'], precision='highest')
  )
  # Those with at most `chosen` - 1 larger ones.
  larger = share_BSE[..., None, :] > share_BSE[..., :, None]
  weight_BSE = jnp.where(larger.sum(-1) < spec.chosen, share_BSE, 0)
  if spec.normalised:
    weight_BSE /= weight_BSE.sum(-1, keepdims=True)
  weight_BSE *= real_BS[..., None]
  out = 0
  for expert in range(spec.experts):
    hidden = x_BSD @ params['up'][expert]
    if spec.gated:
      hidden = activation(x_BSD @ params['gate'][expert]) * hidden
    else:
      hidden = activation(hidden)
    out += weight_BSE[..., expert, None] * (hidden @ params['down'][expert])
  return out


@pytest.mark.parametrize(
  'spec',
  [
    Experts(experts=8, chosen=2),
    Experts(experts=8, chosen=3, normalised=True),
    Experts(experts=5, chosen=1, gated=False, activation='gelu'),
    Experts(experts=4, chosen=4, activation='relu'),
    Experts(experts=1, chosen=1),
  ],
)
def test_equals_all_experts_and_a_mask(spec):
  """In values, and in the gradients of parameters and inputs."""
  params, apply = layer_of(spec)
  x_BSD, real_BS = inputs()
  target = jax.random.normal(jax.random.key(5), x_BSD.shape)

  def run(function):
    def loss(params, x_BSD):
      out = function(params, x_BSD)
      return jnp.sum(out * target), out

    gradients, out = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(
      params, x_BSD
    )
    return out, gradients

  out, gradients = run(lambda params, x: apply(params, x, real_BS)[0])
  want, wanted = run(lambda params, x: dense(spec, params, x, real_BS))
  assert not np.any(out[:, -4:])
  np.testing.assert_allclose(out, want, atol=1e-5)
  names = {'router', 'up', 'down'} | ({'gate'} if spec.gated else set())
  assert set(params) == names
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5),
    gradients,
    wanted,
  )


@pytest.mark.parametrize('sizes', [(100, 28, 0, 60), (256, 0, 0, 0), (0,) * 4])
def test_the_kernel_gives_the_gradient_of_matrices(sizes):
  """Interpreted; rows after the last group count nothing."""
  random = np.random.default_rng(0)
  x, grad = (random.standard_normal((256, n)).astype('f4') for n in (24, 160))
  x[sum(sizes) :] = grad[sum(sizes) :] = 0
  got = by_kernel(x, grad, jnp.array(sizes, jnp.int32), interpret=True)
  ends = np.cumsum(sizes)
  for matrix, end, size in zip(got, ends, sizes, strict=True):
    rows = slice(end - size, end)
    np.testing.assert_allclose(matrix, x[rows].T @ grad[rows], atol=1e-4)


def test_any_load_is_carried():
  """All tokens to the same two of eight: none is dropped."""
  spec = Experts(experts=8, chosen=2)
  params, apply = layer_of(spec)
  x_BSD, real_BS = inputs()
  x_BSD = x_BSD.at[..., 0].set(1.0)
  router = jnp.zeros((EMBED, 8)).at[0, 3].set(50.0).at[0, 6].set(50.0)
  params |= {'router': router}
  out, auxiliary = apply(params, x_BSD, real_BS)
  np.testing.assert_allclose(
    out, dense(spec, params, x_BSD, real_BS), atol=1e-5
  )
  assert np.all(np.any(out[:, :-4] != 0, axis=-1))
  # Collapsed: N / k.
  np.testing.assert_allclose(auxiliary.metrics['balance'], 4.0, rtol=1e-5)
  np.testing.assert_allclose(auxiliary.metrics['largest_load'], 4.0, rtol=1e-5)


def test_uniform_routing_has_balance_one():
  spec = Experts(experts=EMBED, chosen=1, balance=1.0, z_loss=0.0)
  params, apply = layer_of(spec)
  params |= {'router': jnp.eye(EMBED)}
  x_BSD = jnp.eye(EMBED)[None]  # each token to an expert of its own
  told = apply(params, x_BSD, jnp.ones((1, EMBED), bool))[1]
  np.testing.assert_allclose(told.metrics['balance'], 1.0, rtol=1e-6)
  np.testing.assert_allclose(told.metrics['largest_load'], 1.0, rtol=1e-6)
  np.testing.assert_allclose(told.loss, 1.0, rtol=1e-6)


def test_z_loss_is_the_mean_square_of_the_log_normaliser():
  spec = Experts(experts=8, chosen=2, balance=0.0, z_loss=0.5)
  params, apply = layer_of(spec)
  params |= {'router': jnp.zeros((EMBED, 8))}
  told = apply(params, *inputs())[1]
  np.testing.assert_allclose(told.loss, 0.5 * np.log(8) ** 2, rtol=1e-6)


def test_padding_counts_for_nothing():
  params, apply = layer_of(Experts(experts=8, chosen=2))
  x_BSD, real_BS = inputs()
  told = apply(params, x_BSD, real_BS)[1]
  other_BSD = x_BSD.at[:, -4:].set(inputs(1)[0][:, -4:])
  jax.tree.map(
    np.testing.assert_array_equal, told, apply(params, other_BSD, real_BS)[1]
  )
  short = apply(params, x_BSD[:, :-4], real_BS[:, :-4])[1]
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), told, short
  )
  seen = apply(params, x_BSD, jnp.ones_like(real_BS))[1]
  assert abs(seen.loss - told.loss) > 1e-5
  none = apply(params, x_BSD, jnp.zeros_like(real_BS))
  assert not np.any(none[0]) and float(none[1].loss) == 0


def test_the_router_learns_from_the_output_and_from_the_balance():
  x_BSD, real_BS = inputs()

  def gradient(spec, weight):
    params, apply = layer_of(spec)

    def loss(params):
      out, auxiliary = apply(params, x_BSD, real_BS)
      return weight * jnp.sum(out**2) + auxiliary.loss

    return jax.grad(loss)(params)

  silent = Experts(experts=8, chosen=2, balance=0.0, z_loss=0.0)
  assert np.any(gradient(silent, 1.0)['router'])
  assert not np.any(gradient(silent, 0.0)['router'])
  for weights in ({'balance': 1.0}, {'z_loss': 1.0}):
    spec = dataclasses.replace(silent, **weights)
    gradients = gradient(spec, 0.0)
    assert np.any(gradients['router'])
    assert not np.any(gradients['up'])
  # A step down the gradient lowers the balance loss.
  spec = dataclasses.replace(silent, balance=1.0)
  params, apply = layer_of(spec)
  step = gradient(spec, 0.0)['router']
  before = apply(params, x_BSD, real_BS)[1].loss
  moved = params | {'router': params['router'] - 0.1 * step}
  assert apply(moved, x_BSD, real_BS)[1].loss < before


def test_the_objective_adds_what_layers_tell_as_a_mean():
  spec = Experts(experts=8, chosen=2)
  silent = dataclasses.replace(spec, balance=0.0, z_loss=0.0)
  batch = tiny.batch()

  def run(**fields):
    model = tiny.decoder(**fields)
    params = model.init(jax.random.key(0))
    return CrossEntropy()(
      lambda batch: model.apply(params, batch), batch, jax.random.key(0)
    )

  loss, metrics, out = run(feed_forward=spec)
  plain, others, _ = run(feed_forward=silent)
  weight = batch['weights'].sum()
  np.testing.assert_allclose(
    loss - plain, out.auxiliary.loss * weight, rtol=1e-3
  )
  assert list(metrics) == ['loss', 'accuracy', 'balance', 'largest_load']
  np.testing.assert_array_equal(metrics['loss'].total, others['loss'].total)
  for name in ('balance', 'largest_load'):
    assert metrics[name].total.shape == (len(batch['weights']),)
    mean = metrics[name].total.sum() / metrics[name].weight.sum()
    np.testing.assert_allclose(mean, out.auxiliary.metrics[name], rtol=1e-5)
  _, dense, out = run()
  assert (list(dense), out.auxiliary) == (['loss', 'accuracy'], None)


def train(balance, steps=80):
  """Losses of a short training, and the largest load at its end."""
  spec = Experts(experts=8, chosen=1, balance=balance, z_loss=0.0)
  model = tiny.decoder(feed_forward=spec, mlp=16)
  params = model.init(jax.random.key(0))
  # Tokens that have something in common, and a router that begins by sending
  # all that has it to the first expert.
  params['embedding']['table'] += 1.0
  router = params['layers']['feed_forward']['router']
  params['layers']['feed_forward']['router'] = router.at[:, :, 0].add(0.1)
  optimizer = optax.adam(3e-3)
  batch = tiny.batch(rows=8)

  def loss_of(params):
    loss, metrics, _ = CrossEntropy()(
      lambda batch: model.apply(params, batch), batch, jax.random.key(0)
    )
    means = {k: m.total.sum() / m.weight.sum() for k, m in metrics.items()}
    return loss / batch['weights'].sum(), means

  @jax.jit
  def step(params, state):
    gradients, means = jax.grad(loss_of, has_aux=True)(params)
    updates, state = optimizer.update(gradients, state)
    return optax.apply_updates(params, updates), state, means

  state, history = optimizer.init(params), []
  for _ in range(steps):
    params, state, means = step(params, state)
    history.append(jax.device_get(means))
  return history


def test_training_lowers_the_loss_and_balance_evens_the_load():
  with_balance, without = train(0.1), train(0.0)
  for history in (with_balance, without):
    assert history[-1]['loss'] < 0.5 * history[0]['loss']
    assert history[0]['largest_load'] > 6
  print(with_balance[-1], without[-1])
  assert with_balance[-1]['largest_load'] <= 2
  assert without[-1]['largest_load'] >= 4


def test_runs_on_other_meshes_are_the_same_run(tmp_path):
  """What is compared with a run folder says nothing of the mesh."""
  run = tiny.tree_run(tmp_path)
  other = dataclasses.replace(run, mesh=Mesh(data=1, expert=2))
  assert isinstance(other, Run)
  for part in (run.model, run.phases[0]):
    assert 'Mesh' not in str(definition(part))


@pytest.mark.parametrize(
  ('changes', 'told'),
  [
    ({'experts': 0}, r'Experts\.experts'),
    ({'chosen': 0}, r'Experts\.chosen'),
    ({'chosen': 9}, r'Experts\.chosen = 9: must be at most experts = 8'),
    ({'activation': 'gelo'}, r'Experts\.activation.*gelu'),
    ({'gated': 1}, r'Experts\.gated'),
    ({'normalised': None}, r'Experts\.normalised'),
    ({'balance': -0.1}, r'Experts\.balance'),
    ({'z_loss': 'x'}, r'Experts\.z_loss'),
  ],
)
def test_bad_values_are_told_with_their_key(changes, told):
  with pytest.raises(UserError, match=told):
    Experts(**({'experts': 8, 'chosen': 2} | changes))


def test_experts_are_not_multiplied_in_8_bits():
  with pytest.raises(UserError, match=r'Decoder\.quantization.*beside Experts'):
    tiny.decoder(
      feed_forward=Experts(experts=8, chosen=2), quantization=Quantization()
    )
