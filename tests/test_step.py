"""The train step: sums divided once, a learning rate that is explicit."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import tiny
from tpu_lm.objectives.cross_entropy import CrossEntropy
from tpu_lm.optimizers.adamw import AdamW
from tpu_lm.optimizers.sgd import SGD
from tpu_lm.state import init_state
from tpu_lm.step import make_eval_step, make_train_step

MODEL = tiny.decoder()
PLAIN_SGD = SGD(momentum=0.0, clip=None, weight_decay=0.0)


def make(optimizer=PLAIN_SGD, schedule=lambda s: jnp.float32(0.1), **options):
  optimizer = optimizer.make(MODEL.axes())
  state = init_state(MODEL, optimizer, (), jax.random.key(0))
  options = {'start_step': 0, 'seed': 0, 'sources': 2} | options
  return state, jax.jit(
    make_train_step(MODEL, CrossEntropy(), optimizer, schedule, **options)
  )


def mean_loss(params, batch):
  out = MODEL.apply(params, batch)
  losses = optax.softmax_cross_entropy_with_integer_labels(
    out.logits_BSV, batch['targets']
  )
  return jnp.sum(losses * batch['weights']) / jnp.sum(batch['weights'])


def test_one_step_is_gradient_descent():
  state, step = make()
  batch = tiny.batch()
  gradients = jax.grad(mean_loss)(state.params, batch)
  want = jax.tree.map(lambda p, g: p - 0.1 * g, state.params, gradients)
  new, report = step(state, batch)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), new.params, want
  )
  np.testing.assert_allclose(
    report['gradient_norm'], optax.tree.norm(gradients), rtol=1e-5
  )
  assert new.step == 1


@pytest.mark.parametrize('micro_batches', [1, 2, 4])
def test_accumulation_of_unequal_weights(micro_batches):
  """Parts with different weights count for the tokens they hold."""
  batch = tiny.batch()
  batch['weights'] = batch['weights'] * np.array([[1], [0], [1], [0.25]], 'f4')
  state, step = make(micro_batches=micro_batches)
  gradients = jax.grad(mean_loss)(state.params, batch)
  want = jax.tree.map(lambda p, g: p - 0.1 * g, state.params, gradients)
  new, report = step(state, batch)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), new.params, want
  )
  loss = report['metrics']['loss']
  np.testing.assert_allclose(
    loss.total.sum() / loss.weight.sum(),
    mean_loss(state.params, batch),
    rtol=1e-5,
  )


def test_zero_weight_batch_is_finite():
  state, step = make()
  batch = tiny.batch()
  batch['weights'] *= 0
  new, report = step(state, batch)
  assert report['gradient_norm'] == 0
  jax.tree.map(np.testing.assert_array_equal, new.params, state.params)


def test_losses_by_source():
  state, step = make()
  batch = tiny.batch(sources=2)
  _, report = step(state, batch)
  loss = report['metrics']['loss']
  for source in range(2):
    rows = batch['source'] == source
    part = {key: value[rows] for key, value in batch.items()}
    np.testing.assert_allclose(
      loss.total[source] / loss.weight[source],
      mean_loss(state.params, part),
      rtol=1e-5,
    )


def test_the_schedule_sees_the_phase_step():
  state, step = make(schedule=lambda s: 1e-3 * (s + 1), start_step=0)
  for index in range(3):
    state, report = step(state, tiny.batch())
    np.testing.assert_allclose(report['learning_rate'], 1e-3 * (index + 1))
  _, later = make(schedule=lambda s: 1e-3 * (s + 1), start_step=2)
  _, report = later(state, tiny.batch())  # step 3 of the lineage
  np.testing.assert_allclose(report['learning_rate'], 1e-3 * 2)


def test_training_lowers_the_loss():
  state, step = make(AdamW(), lambda s: jnp.float32(1e-2))
  batch = tiny.batch()
  first = mean_loss(state.params, batch)
  for _ in range(10):
    state, _ = step(state, batch)
  assert mean_loss(state.params, batch) < first - 0.5


def test_eval_step_gives_one_mean():
  state, _ = make()
  batch = tiny.batch()
  loss = jax.jit(make_eval_step(MODEL, CrossEntropy()))(state.params, batch)[
    'loss'
  ]
  assert loss.total.shape == (1,)
  np.testing.assert_allclose(
    loss.total / loss.weight, mean_loss(state.params, batch), rtol=1e-5
  )
