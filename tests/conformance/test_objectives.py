"""What every objective promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tpu_lm.checks import UserError
from tpu_lm.objectives.cross_entropy import CrossEntropy

OBJECTIVES = {
  'causal': CrossEntropy(),
  'causal_z_loss': CrossEntropy(z_loss=1e-4),
}


@pytest.fixture(params=OBJECTIVES.values(), ids=OBJECTIVES)
def objective(request):
  return request.param


MODEL = tiny.decoder()
PARAMS = MODEL.init(jax.random.key(0))


def forward(params):
  return lambda batch: MODEL.apply(params, batch)


def test_metrics_are_row_sums(objective):
  batch = tiny.batch()
  loss, metrics, _ = objective(forward(PARAMS), batch, jax.random.key(0))
  assert loss.shape == () and loss.dtype == jnp.float32
  assert 'loss' in metrics
  for mean in metrics.values():
    assert mean.total.shape == mean.weight.shape == (4,)
  np.testing.assert_allclose(
    metrics['loss'].weight, batch['weights'].sum(axis=1)
  )


def test_equals_the_formula():
  batch = tiny.batch()
  loss, _, out = CrossEntropy()(forward(PARAMS), batch, jax.random.key(0))
  logits = np.asarray(out.logits_BSV, np.float64)
  chosen = np.take_along_axis(logits, batch['targets'][..., None], 2)[..., 0]
  want = (np.log(np.exp(logits).sum(-1)) - chosen) * batch['weights']
  np.testing.assert_allclose(loss, want.sum(), rtol=1e-5)


def test_z_loss_is_minimised_and_not_reported():
  batch, key = tiny.batch(), jax.random.key(0)
  plain, reported, out = CrossEntropy()(forward(PARAMS), batch, key)
  loss, with_z, _ = CrossEntropy(z_loss=0.5)(forward(PARAMS), batch, key)
  z = jax.nn.logsumexp(out.logits_BSV, -1) ** 2 * batch['weights']
  np.testing.assert_allclose(loss, plain + 0.5 * z.sum(), rtol=1e-5)
  np.testing.assert_array_equal(with_z['loss'].total, reported['loss'].total)


def test_masked_targets_do_not_count(objective):
  batch, key = tiny.batch(), jax.random.key(0)
  before = objective(forward(PARAMS), batch, key)[0]
  hidden = batch['weights'] == 0
  batch['targets'] = np.where(hidden, 7, batch['targets'])
  np.testing.assert_array_equal(
    objective(forward(PARAMS), batch, key)[0], before
  )


def test_zero_weights_give_finite_zero_gradients(objective):
  batch = tiny.batch()
  batch['weights'] = np.zeros_like(batch['weights'])

  def loss(params):
    return objective(forward(params), batch, jax.random.key(0))[0]

  for gradient in jax.tree.leaves(jax.grad(loss)(PARAMS)):
    assert not np.any(gradient)


def test_bad_value():
  with pytest.raises(UserError, match=r'CrossEntropy\.z_loss'):
    CrossEntropy(z_loss=-1)
