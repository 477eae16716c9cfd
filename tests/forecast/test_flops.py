"""The formula counts what a compiled step does, on models without remat."""

import jax
import jax.numpy as jnp
import pytest

from tests import tiny
from tpu_lm.blocks import heads
from tpu_lm.blocks.attention import Attention
from tpu_lm.blocks.positions import Learned, Relative
from tpu_lm.compiled.cost import cost_of
from tpu_lm.data.layout import ENCODER, Layout
from tpu_lm.forecast.flops import pairs_seen, step_flops
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


@pytest.mark.parametrize('window', [1, 5, 16, 40])
def test_pairs_of_windows(window):
  """By counting; a triangle is counted without half of its diagonal."""
  attention = Attention(windows=(window, 0))
  near, far = pairs_seen(
    tiny.decoder(layers=2, attention=attention), Layout(LENGTH)
  )
  pairs = [
    (query, key)
    for query in range(LENGTH)
    for key in range(query + 1)
    if query - key < window
  ]
  assert abs(near - len(pairs)) <= LENGTH / 2
  assert far == LENGTH**2 / 2
  both = tiny.encoder(layers=1, attention=attention)
  [seen] = pairs_seen(both, Layout(LENGTH, ENCODER))
  count = 2 * len(pairs) - LENGTH
  assert abs(seen - count) <= LENGTH
