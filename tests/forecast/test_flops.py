"""The formula counts what a compiled step does, on models without remat."""

import types

import jax
import jax.numpy as jnp
import pytest

from tests import tiny
from tpu_lm.blocks import heads
from tpu_lm.blocks.attention import Attention
from tpu_lm.blocks.experts import Experts
from tpu_lm.blocks.positions import Learned, Relative
from tpu_lm.blocks.visibility import both_ways, causal, within
from tpu_lm.blocks.visibility import initial as first
from tpu_lm.compiled.cost import cost_of
from tpu_lm.data.layout import ENCODER, Layout
from tpu_lm.forecast.flops import pairs_seen, step_flops
from tpu_lm.forecast.program import _kernel_flops
from tpu_lm.objectives.cross_entropy import CrossEntropy

ROWS, LENGTH = 4, 16
MODELS = {
  'decoder': tiny.decoder(),
  'separate head': tiny.decoder(head=heads.Separate()),
  'learned positions': tiny.decoder(positions=Learned(LENGTH)),
  'prefix decoder': tiny.prefix_decoder(),
  'encoder': tiny.encoder(head=heads.MaskedLM()),
  'encoder-decoder': tiny.encoder_decoder(positions=Relative()),
}


@pytest.mark.parametrize('model', MODELS.values(), ids=MODELS)
def test_equals_the_compiled_step(model):
  two_sided = model.layout == 'encoder_decoder'
  layout = Layout(
    LENGTH + 4 if two_sided else LENGTH,
    model.layout,
    LENGTH if two_sided else None,
  )
  batch = tiny.batch(ROWS, LENGTH)

  def loss(params, batch):
    return CrossEntropy()(
      lambda batch: model.apply(params, batch), batch, jax.random.key(0)
    )[0]

  params = model.init(jax.random.key(0))
  step = jax.jit(jax.grad(loss)).lower(params, jax.tree.map(jnp.asarray, batch))
  done = cost_of(step.compile().as_text()).flops
  flops = step_flops(model, layout, ROWS)
  # Attention written out goes through all pairs, also of later keys.
  every = model.layers * layout.targets**2
  if two_sided:
    every += model.encoder_layers * layout.length**2
    every += model.layers * layout.targets * layout.length
  attention = 12 * model.heads * model.head_dim * every * ROWS
  assert done == flops.products + attention
  assert flops.total == flops.products + flops.attention


def test_of_experts_those_that_a_token_chooses_count():
  """Beside a dense layer as wide as two experts: the router's products."""
  experts = Experts(experts=8, chosen=2)
  model = tiny.decoder(feed_forward=experts, mlp=32)
  sparse = step_flops(model, Layout(LENGTH), ROWS)
  dense = step_flops(tiny.decoder(mlp=64), Layout(LENGTH), ROWS)
  router = 6 * model.layers * model.embed * 8 * ROWS * LENGTH
  assert sparse.products == dense.products + router
  assert sparse.attention == dense.attention


def test_kernels_of_experts_count_the_chosen_ones():
  """9 products a layer: up, gate and down, and two gradients of each."""
  model = tiny.decoder(feed_forward=Experts(experts=8, chosen=2))
  calls = {
    'ragged-dot-none': 6 * 2,
    'jit(tgmm)': 3 * 2,
    'ragged-dot-metadata': 4,
  }
  cost = types.SimpleNamespace(kernels=calls)
  mesh = types.SimpleNamespace(shape={'tensor': 2, 'sequence': 2})
  flops = _kernel_flops(cost, model, Layout(LENGTH), ROWS, mesh)
  needed = 6 * 3 * model.embed * model.mlp * 2 * model.layers * ROWS * LENGTH
  assert flops == needed / 4


@pytest.mark.parametrize('initial', [None, 1, 4, 7, 40])
@pytest.mark.parametrize('window', [1, 5, 15, 16, 40])
def test_pairs_are_those_of_the_masks(window, initial):
  attention = Attention(windows=(window, 0), initial_tokens=initial)
  one = jnp.ones((1, LENGTH), jnp.int32)
  kept = None if initial is None else first(one, initial)
  models = {
    tiny.decoder: (causal(one), Layout(LENGTH)),
    tiny.encoder: (both_ways(one, one), Layout(LENGTH, ENCODER)),
  }
  for make, (visibility, layout) in models.items():
    counted = [
      int(jnp.sum(within(visibility.mask, width, kept)))
      for width in (window, 0)
    ]
    assert pairs_seen(make(layers=2, attention=attention), layout) == counted


def test_kernels_that_keep_initial_tokens_go_through_what_is_hidden():
  """As much as without windows, see `blocks/splash.py`."""
  cost = types.SimpleNamespace(kernels={'splash_mha_fwd': 2})
  mesh = types.SimpleNamespace(shape={'tensor': 1, 'sequence': 1})

  def flops(**attention):
    model = tiny.decoder(attention=Attention(**attention))
    return _kernel_flops(cost, model, Layout(LENGTH), 1, mesh)

  kept = flops(windows=(4, 0), initial_tokens=1)
  assert flops(windows=(4, 0)) < kept == flops()
