"""Products in 8 bits: how far they are off, and what they do to training."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tpu_lm.blocks.heads import MaskedLM
from tpu_lm.blocks.quantized import (
  BACKWARD,
  FORMATS,
  MOST_TERMS,
  Quantization,
  multiply,
)
from tpu_lm.checks import UserError
from tpu_lm.objectives.cross_entropy import CrossEntropy
from tpu_lm.optimizers.adamw import AdamW
from tpu_lm.state import init_state
from tpu_lm.step import make_train_step

ROWS, LENGTH, INPUTS, OUTPUTS = 4, 16, 48, 32
# Two factors with errors of half a step each, at random: of int8 a step is
# 1/127 of the largest of some 40 normal numbers; of e4m3 and e5m2 it is 1/8
# and 1/4 of a number's power of two.
FORWARD_ERROR = {'int8': (0.004, 0.012), 'fp8': (0.02, 0.045)}
BACKWARD_ERROR = {'int8': (0.004, 0.02), 'fp8': (0.03, 0.075)}


def factors():
  """Rows that differ in size by hundreds, and weights."""
  keys = jax.random.split(jax.random.key(0), 3)
  sizes = jnp.exp(2 * jax.random.normal(keys[0], (ROWS, LENGTH, 1)))
  x = sizes * jax.random.normal(keys[1], (ROWS, LENGTH, INPUTS))
  return x, jax.random.normal(keys[2], (INPUTS, OUTPUTS))


def relative(got, want):
  return float(jnp.linalg.norm(got - want) / jnp.linalg.norm(want))


def gradients(product, x, weights):
  direction = jax.random.normal(jax.random.key(7), (ROWS, LENGTH, OUTPUTS))
  return jax.grad(lambda *pair: jnp.vdot(product(*pair), direction), (0, 1))(
    x, weights
  )


@pytest.mark.parametrize('kind', FORMATS)
def test_the_error_is_that_of_the_format(kind):
  x, weights = factors()
  got = multiply(Quantization(kind), x, weights)
  least, most = FORWARD_ERROR[kind]
  assert least < relative(got, x @ weights) < most
  # Each row has a scale of its own, so small rows are as exact as large ones.
  rows = jnp.linalg.norm(got - x @ weights, axis=-1)
  rows = rows / jnp.linalg.norm(x @ weights, axis=-1)
  assert jnp.max(rows) < 2 * most


def test_int8_by_hand():
  """127 * 127 - 64 * 64, of the scales 1 / 127 and 2 / 127."""
  got = multiply(
    Quantization('int8'), jnp.array([[1.0, 0.5]]), jnp.array([[2.0], [-1.0]])
  )
  np.testing.assert_allclose(got, [[(127**2 - 64**2) * 2 / 127**2]], rtol=1e-6)


@pytest.mark.parametrize('backward', BACKWARD)
@pytest.mark.parametrize('kind', FORMATS)
def test_gradients_are_near(kind, backward):
  x, weights = factors()
  quantization = Quantization(kind, backward)
  got = gradients(lambda *pair: multiply(quantization, *pair), x, weights)
  want = gradients(jnp.matmul, x, weights)
  least, most = BACKWARD_ERROR[kind]
  in_8_bits = {'none': (), 'inputs': (0,), 'all': (0, 1)}[backward]
  for index in (0, 1):
    assert np.all(np.isfinite(got[index]))
    error = relative(got[index], want[index])
    if index in in_8_bits:
      assert least < error < most
    else:
      assert error < 1e-6


def test_a_gradient_passes_the_weights_that_were_multiplied():
  _, weights = factors()
  quantization = Quantization('int8', 'inputs')
  # One output at a time is exact in 8 bits, so its column is what comes back.
  columns = jnp.eye(OUTPUTS)[None]
  _, vjp = jax.vjp(
    lambda x: multiply(quantization, x, weights),
    jnp.zeros((1, OUTPUTS, INPUTS)),
  )
  [back] = vjp(columns)
  scale = jnp.max(jnp.abs(weights), 0) / 127
  want = jnp.round(weights / scale) * scale
  np.testing.assert_allclose(back[0].T, want, rtol=1e-5)


@pytest.mark.parametrize('kind', FORMATS)
def test_zeros_and_what_is_not_finite(kind):
  x, weights = factors()
  x = x.at[0, 0].set(0).at[1, 1].set(1e-38).at[2, 2, 5].set(jnp.nan)
  x = x.at[3, 3, 5].set(jnp.inf)
  weights = weights.at[:, 3].set(0)
  quantization = Quantization(kind, 'all')
  got = multiply(quantization, x, weights)
  assert np.all(got[0, 0] == 0) and np.all(got[0, :, 3] == 0)
  assert np.max(np.abs(got[1, 1])) < 1e-30
  assert not np.any(np.isfinite(got[2, 2])) and np.all(np.isfinite(got[2, 3]))
  assert not np.any(np.isfinite(got[3, 3])) and np.all(np.isfinite(got[3, 4]))
  zeros = jnp.zeros_like
  _, vjp = jax.vjp(lambda *p: multiply(quantization, *p), *factors())
  for gradient in vjp(zeros(got)):
    assert np.all(gradient == 0)


def test_sums_that_could_overflow_are_told():
  too_long = jnp.zeros((1, 1, MOST_TERMS + 1), jnp.bfloat16)
  with pytest.raises(UserError, match=r'133,145 products.*133,144 cannot'):
    jax.eval_shape(
      lambda x: multiply(Quantization(), x, jnp.zeros((MOST_TERMS + 1, 1))),
      too_long,
    )
  many = jnp.zeros((1, MOST_TERMS + 1, 1)), jnp.zeros((1, 1))
  for good in ('none', 'inputs'):
    multiply(Quantization('int8', good), *many)
  multiply(Quantization('fp8', 'all'), *many)
  with pytest.raises(UserError, match='more micro-batches'):
    multiply(Quantization('int8', 'all'), *many)


@pytest.mark.parametrize(
  ('make', 'key'),
  [
    (lambda: Quantization('int4'), "Quantization.kind = 'int4'.*int8"),
    (lambda: Quantization(8), 'Quantization.kind'),
    (lambda: Quantization(backward='input'), 'Quantization.backward.*inputs'),
    (lambda: Quantization(backward=True), 'Quantization.backward'),
    (lambda: tiny.decoder(quantization='int8'), 'Decoder.quantization'),
    (lambda: tiny.decoder(quantization=Quantization), 'Decoder.quantization'),
  ],
)
def test_bad_values_are_told(make, key):
  with pytest.raises(UserError, match=key) as told:
    make()
  assert '\n' not in str(told.value)


def products(function, *arguments):
  """Types of the factors of all products, as they are traced."""
  text = jax.jit(function).lower(*arguments).as_text()
  lines = [line for line in text.splitlines() if 'dot_general' in line]
  return [
    re.findall(r'x([a-z]\w*?)>', line.split(' : ')[-1])[:2] for line in lines
  ]


@pytest.mark.parametrize(
  ('quantization', 'types', 'forward', 'backward'),
  [
    (Quantization('int8', 'none'), ['i8', 'i8'], 7, 0),
    (Quantization('int8', 'inputs'), ['i8', 'i8'], 7, 7),
    (Quantization('int8', 'all'), ['i8', 'i8'], 7, 14),
    (Quantization('fp8', 'all'), ['f8E4M3FN', 'f8E4M3FN'], 7, 14),
  ],
)
def test_what_is_in_8_bits(quantization, types, forward, backward):
  """Products with the weights of layers, and no others."""
  model = tiny.encoder(head=MaskedLM(), quantization=quantization)
  params = model.init(jax.random.key(0))

  def loss(params):
    return model.apply(params, tiny.batch()).logits_BSV.sum()

  found = products(loss, params)
  assert found.count(types) == forward  # four of attention, three beside
  # Logits of attention, its sums, the head's layer and the token table.
  assert found.count(['f32', 'f32']) == 4
  both = products(jax.grad(loss), params)
  narrow = [
    pair
    for pair in both
    if all('8' in each and '32' not in each for each in pair)
  ]
  assert len(narrow) == forward + backward
  if quantization.kind == 'fp8':
    assert sum('f8E5M2' in pair for pair in narrow) == backward


def kept(quantization):
  """Shapes and types of what the backward pass gets of the layers."""
  model = tiny.decoder(
    quantization=quantization, remat='dots', dtype='bfloat16'
  )
  params = model.init(jax.random.key(0))

  def backward(params):
    return jax.vjp(lambda p: model.apply(p, tiny.batch()).hidden_BSD, params)[1]

  shapes = [str(leaf) for leaf in jax.make_jaxpr(backward)(params).out_avals]
  return sorted(shape for shape in shapes if '[2,' in shape)


@pytest.mark.parametrize('kind', FORMATS)
def test_dots_keeps_what_products_give_and_not_their_sums(kind):
  """A sum has 32 bits, what is made of it those of the model."""
  want = kept(None)
  # Queries; keys and values; gate and up; layer inputs, and attention's out.
  activations = [shape for shape in want if '[2,4,16,' in shape]
  assert activations == sorted(
    f'bfloat16[2,4,16,{shape}]'
    for shape in ('4,8', '2,8', '2,8', '64', '64', '32', '32')
  )
  assert kept(Quantization(kind, 'all')) == want


def trained(model, steps=30):
  """Losses on one batch."""
  optimizer = AdamW().make(model.axes())
  state = init_state(model, optimizer, (), jax.random.key(0))
  step = jax.jit(
    make_train_step(
      model,
      CrossEntropy(),
      optimizer,
      lambda step: jnp.float32(1e-2),
      start_step=0,
      seed=0,
      sources=1,
    )
  )
  losses = []
  for _ in range(steps):
    state, report = step(state, tiny.batch())
    loss = report['metrics']['loss']
    losses.append(float(loss.total.sum() / loss.weight.sum()))
  return np.array(losses)


@pytest.mark.slow
def test_training_goes_as_it_does_unrounded():
  want = trained(tiny.decoder())
  assert want[-1] < want[0] - 2
  for kind in FORMATS:
    for backward in ('inputs', 'all'):
      got = trained(tiny.decoder(quantization=Quantization(kind, backward)))
      assert np.max(np.abs(got - want)) > 1e-3
      np.testing.assert_allclose(got, want, atol=0.2)
