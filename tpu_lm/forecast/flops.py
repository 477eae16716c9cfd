"""Floating-point operations that training needs, by formula.

What a compiler does besides (computing activations again, masks, norms) is no
progress and is not counted: these are the operations of "model FLOPs
utilisation", Chowdhery et al. (2022), "PaLM", appendix B, with the difference
that attention counts only what is seen, so causal attention half.
"""

from typing import NamedTuple

import jax

from tpu_lm import shapes
from tpu_lm.data.layout import ENCODER, Layout
from tpu_lm.data.opened import settled
from tpu_lm.phase import Phase, Run
from tpu_lm.tree import is_axes, named_paths


class Flops(NamedTuple):
  """Of one training step, forward and backward.

  Attributes:
    products: 6 for each weight of a matrix and each token that passes it: two
      forward, four backward. The head counts, looking vectors up doesn't; of
      experts those that a token chooses.
    attention: 12 H K for each pair of a query and a key that it sees, in each
      layer: logits and weighted sums, forward and twice as much backward.
  """

  products: float
  attention: float

  @property
  def total(self) -> float:
    """Both."""
    return self.products + self.attention


def step_flops(model, layout: Layout, rows: int) -> Flops:
  """What a model needs for a step; rows are taken for full of one document.

  Args:
    model: one of `models/`.
    layout: of the rows.
    rows: in a batch.
  """
  axes = named_paths(model.axes(), is_axes)
  weights = named_paths(jax.eval_shape(model.init, jax.random.key(0)))
  separate = 'head/table' in weights
  products = 0
  for name, weight in weights.items():
    dimensions = [axis for axis in axes[name] if axis != shapes.LAYERS]
    looked_up = name == 'embedding/table' and separate
    if len(dimensions) < 2 or looked_up or 'positions' in name.split('/'):
      continue
    of_encoder = name.startswith('encoder/') or (
      'cross_attention' in name and name.endswith(('key', 'value'))
    )
    tokens = layout.length if of_encoder else layout.targets
    share = 1.0
    if shapes.EXPERTS in dimensions:
      share = model.feed_forward.chosen / model.feed_forward.experts
    products += 6 * weight.size * share * tokens * rows
  pairs = sum(pairs_seen(model, layout))
  return Flops(products, 12 * model.heads * model.head_dim * pairs * rows)


def phase_flops(run: Run, phase: Phase) -> Flops:
  """Of a step of a phase, in rows as its mixture makes them."""
  layout = settled(run.corpus, phase.mixture, Layout.of(phase, run.model))
  return step_flops(run.model, layout, phase.batch_size)


def pairs_seen(model, layout: Layout) -> list[int]:
  """Pairs of query and key in one row, of each attention of each layer."""
  windows = model.attention.windows or (0,)
  initial = model.attention.initial_tokens or 0

  def within(length: int, layers: int, causal: bool) -> list[int]:
    found, kept = [], min(initial, length)
    for layer in range(layers):
      near = min(windows[layer % len(windows)] or length, length)
      hidden = _triangle(length - near - kept)
      if causal:
        found.append(_triangle(length) - hidden)
      else:
        ahead = _triangle(length - near) - _triangle(kept - near)
        found.append(length**2 - hidden - ahead)
    return found

  pairs = within(layout.targets, model.layers, layout.kind != ENCODER)
  if layout.two_sided:
    pairs += within(layout.length, model.encoder_layers, causal=False)
    pairs += [layout.targets * layout.length] * model.layers
  return pairs


def _triangle(side: int) -> int:
  """Pairs in a triangle whose rows have 1, 2, ... of them; 0 without rows."""
  return side * (side + 1) // 2 if side > 0 else 0
