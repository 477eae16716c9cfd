"""A stack of layers, scanned: what every model has one or two of."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from tpu_lm import shapes
from tpu_lm.blocks.activations import dropout
from tpu_lm.blocks.embeddings import Embedding
from tpu_lm.blocks.feed_forward import Auxiliary
from tpu_lm.blocks.layer import Layer, View
from tpu_lm.blocks.parameter import PRODUCT
from tpu_lm.models.modules import axes_of, graph_of, params_of
from tpu_lm.tree import Tree

# What the backward pass keeps of a layer; all else is computed again.
REMAT_POLICIES = {
  'none': jax.checkpoint_policies.everything_saveable,
  'dots': jax.checkpoint_policies.save_only_these_names(PRODUCT),
  'offload': jax.checkpoint_policies.save_and_offload_only_these_names(
    names_which_can_be_saved=[],
    names_which_can_be_offloaded=[PRODUCT],
    offload_src='device',
    offload_dst='pinned_host',
  ),
  'full': jax.checkpoint_policies.nothing_saveable,
}


@dataclasses.dataclass(frozen=True)
class Stack:
  """Layers, with what comes before the first and after the last.

  Its parameters: layers (stacked first), and where its blocks have them
  final_norm, positions and embedding_norm.

  Attributes:
    model: has the sizes and the blocks, see `transformer.py`.
    layers: how many there are.
    both_ways: whether tokens see later ones.
    cross: whether its layers look at an encoder.
  """

  model: Any
  layers: int
  both_ways: bool
  cross: bool = False

  def parts(self) -> dict[str, Any]:
    """Constructors of the modules outside the scan, by name."""
    model, parts = self.model, {}
    if model.residual.final_norm:
      parts['final_norm'] = lambda rngs: model.norm.make(model.embed)
    if model.positions.has_table:
      parts['positions'] = functools.partial(
        model.positions.make, model.embed, model.heads
      )
    if model.embedding.norm is not None:
      norm = model.embedding.norm
      parts['embedding_norm'] = lambda rngs: norm.make(model.embed)
    return parts

  def _layer(self, rngs: nnx.Rngs) -> Layer:
    return Layer(self.model, self.layers, self.cross, rngs)

  def init_layers(self, key: jax.Array) -> Tree:
    """Fresh parameters of the layers, stacked first."""
    keys = jax.random.split(key, self.layers)
    return jax.vmap(lambda key: params_of(self._layer(nnx.Rngs(params=key))))(
      keys
    )

  def layer_axes(self) -> Tree:
    """Axis names of the layers' parameters, `layers` first."""
    return jax.tree.map(
      lambda names: (shapes.LAYERS, *names),
      axes_of(self._layer),
      is_leaf=lambda leaf: isinstance(leaf, tuple),
    )

  def __call__(
    self,
    params: Tree,
    embedding: Embedding,
    tokens_BS: jax.Array,
    positions_BS: jax.Array,
    view: View,
    key: jax.Array | None,
  ) -> tuple[jax.Array, Auxiliary | None]:
    """Runs tokens through all layers: [B, S, D], normalised.

    Args:
      params: see above.
      embedding: token vectors.
      tokens_BS: i32[B, S].
      positions_BS: i32[B, S].
      view: masks, and what an encoder gave; the rest is filled in here.
      key: of dropout; None: nothing is dropped.

    Returns:
      The vectors, and what the layers tell the objective, f32[L] each.
    """
    model, rate = self.model, self.model.dropout
    parts = {
      name: nnx.merge(graph_of(make), params[name])
      for name, make in self.parts().items()
    }
    table = parts.get('positions')
    x_BSD = embedding.encode(tokens_BS, jnp.dtype(model.dtype))
    x_BSD = model.embedding.scaled(x_BSD)
    x_BSD = model.positions.add(table, x_BSD, positions_BS)
    if 'embedding_norm' in parts:
      x_BSD = parts['embedding_norm'](x_BSD)
    keys = None
    if key is not None and rate:
      keys = jax.random.split(key, self.layers + 1)
      x_BSD, keys = dropout(x_BSD, rate, keys[0]), keys[1:]
    length = tokens_BS.shape[1]
    view = view._replace(
      angles=model.positions.angles(positions_BS, model.head_dim),
      bias_HST=model.positions.bias(table, length, model.heads, self.both_ways),
    )
    windows = None
    if model.attention.windows:
      turns = -(-self.layers // len(model.attention.windows))
      windows = jnp.array((model.attention.windows * turns)[: self.layers])
    layer = graph_of(self._layer)

    def run_layer(x_BSD, scanned):
      layer_params, window, key = scanned
      return nnx.merge(layer, layer_params)(x_BSD, view, window, key)

    if model.remat != 'none':
      run_layer = jax.checkpoint(
        run_layer,
        policy=REMAT_POLICIES[model.remat],
        # scan already keeps the passes apart; without this XLA must too.
        prevent_cse=False,
      )
    x_BSD, auxiliary = jax.lax.scan(
      run_layer,
      x_BSD,
      (params['layers'], windows, keys),
      unroll=min(model.unroll, self.layers),
    )
    if 'final_norm' in parts:
      x_BSD = parts['final_norm'](x_BSD)
    return x_BSD, auxiliary
