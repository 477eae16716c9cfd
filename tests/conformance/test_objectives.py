"""What every objective promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tpu_lm.blocks.reading import Reading
from tpu_lm.checks import UserError
from tpu_lm.objectives.cross_entropy import CrossEntropy
from tpu_lm.objectives.logit_summary import summarise

OBJECTIVES = {
  'causal': CrossEntropy(),
  'causal_z_loss': CrossEntropy(z_loss=1e-4),
  'in_chunks': CrossEntropy(z_loss=1e-4, vocabulary_chunks=4),
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


READINGS = {
  'plain': {},
  'bias': {'bias_V': jax.random.normal(jax.random.key(3), (259,))},
  'softcap': {'softcap': 0.5},
  'bfloat16': {'dtype': jnp.bfloat16},
}


@pytest.mark.parametrize('chunks', [2, 4, 7, 259, 300])
@pytest.mark.parametrize('changes', READINGS.values(), ids=READINGS)
def test_chunks_of_the_vocabulary_change_nothing(changes, chunks):
  changes = dict(changes)
  dtype = changes.pop('dtype', jnp.float32)
  x_BSD, table_VD = (
    jax.random.normal(jax.random.key(i), shape)
    for i, shape in enumerate([(2, 8, 16), (259, 16)])
  )
  targets_BS = jax.random.randint(jax.random.key(2), (2, 8), 0, 259)
  table_VD = table_VD.at[100:].set(table_VD[:159])  # ties

  def loss(x_BSD, table_VD, chunks):
    reading = Reading(x_BSD.astype(dtype), table_VD, **changes)
    summary = summarise(reading, targets_BS, chunks)
    z_BS = jnp.square(summary.log_normalizer_BS)
    return jnp.sum(z_BS - summary.target_logit_BS), summary

  results = [
    jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(x_BSD, table_VD, n)
    for n in (1, chunks)
  ]
  (whole, whole_gradients), (parts, gradients) = results
  np.testing.assert_array_equal(whole[1].correct_BS, parts[1].correct_BS)
  tolerance = 1e-5 if dtype == jnp.float32 else 2e-2
  for one, other in zip(
    jax.tree.leaves((whole, whole_gradients)),
    jax.tree.leaves((parts, gradients)),
    strict=True,
  ):
    np.testing.assert_allclose(
      np.asarray(one, np.float32),
      np.asarray(other, np.float32),
      rtol=tolerance,
      atol=tolerance * np.abs(np.asarray(one, np.float32)).max(),
    )


def test_the_first_of_equal_logits_is_the_answer():
  x_BSD, table_VD = jnp.ones((1, 1, 4)), jnp.ones((10, 4))
  for token in range(10):
    targets_BS = jnp.full((1, 1), token)
    for chunks in (1, 3, 10):
      summary = summarise(Reading(x_BSD, table_VD), targets_BS, chunks)
      assert bool(summary.correct_BS[0, 0]) == (token == 0)


def test_chunks_never_hold_all_logits():
  """The compiled program's memory says so, backward pass and all."""
  x_BSD = jax.ShapeDtypeStruct((4, 64, 32), jnp.float32)
  table_VD = jax.ShapeDtypeStruct((8192, 32), jnp.float32)
  targets_BS = jax.ShapeDtypeStruct((4, 64), jnp.int32)

  def temporaries(chunks):
    def loss(x_BSD, table_VD, targets_BS):
      summary = summarise(Reading(x_BSD, table_VD), targets_BS, chunks)
      return jnp.sum(summary.log_normalizer_BS - summary.target_logit_BS)

    program = jax.jit(jax.grad(loss, argnums=(0, 1)))
    compiled = program.lower(x_BSD, table_VD, targets_BS).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  logits = 4 * 64 * 8192 * 4
  table = 8192 * 32 * 4
  assert temporaries(1) >= logits
  assert temporaries(16) < logits / 4 + 4 * table


def test_bad_value():
  with pytest.raises(UserError, match=r'CrossEntropy\.vocabulary_chunks'):
    CrossEntropy(vocabulary_chunks=0)
  with pytest.raises(UserError, match=r'CrossEntropy\.z_loss'):
    CrossEntropy(z_loss=-1)
