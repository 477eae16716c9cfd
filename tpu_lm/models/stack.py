"""A stack of layers, scanned: what every model has one or two of."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from tpu_lm import shapes
from tpu_lm.blocks.activations import dropout
from tpu_lm.blocks.embeddings import Embedding, Input
from tpu_lm.blocks.layer import Layer, LayerSpec, View
from tpu_lm.blocks.positions import NoPositions
from tpu_lm.models.modules import axes_of, graph_of, params_of
from tpu_lm.tree import Tree

# What the backward pass keeps of a layer; all else is computed again.
REMAT_POLICIES = {
  'none': jax.checkpoint_policies.everything_saveable,
  'dots': jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
  'full': jax.checkpoint_policies.nothing_saveable,
}


@dataclasses.dataclass(frozen=True)
class Stack:
  """Layers, with what comes before the first and after the last.

  Its parameters: layers (stacked first), and where its blocks have them
  final_norm, positions and embedding_norm.

  Attributes:
    spec: of the layers.
    input: of `embeddings`: what becomes of token vectors.
    positions: of `positions`.
    both_ways: whether tokens see later ones.
    remat: of `REMAT_POLICIES`.
    unroll: layers to a turn of the scan.
  """

  spec: LayerSpec
  input: Input
  positions: NoPositions
  both_ways: bool
  remat: str
  unroll: int

  def parts(self) -> dict[str, Any]:
    """Constructors of the modules outside the scan, by name."""
    spec, parts = self.spec, {}
    if spec.residual.final_norm:
      parts['final_norm'] = lambda rngs: spec.norm.make(spec.embed)
    table = functools.partial(self.positions.make, spec.embed, spec.heads)
    if jax.eval_shape(lambda: _leaves(table)):
      parts['positions'] = table
    if self.input.norm is not None:
      parts['embedding_norm'] = lambda rngs: self.input.norm.make(spec.embed)
    return parts

  def init_layers(self, key: jax.Array) -> Tree:
    """Fresh parameters of the layers, stacked first."""
    keys = jax.random.split(key, self.spec.layers)
    return jax.vmap(
      lambda key: params_of(Layer(self.spec, nnx.Rngs(params=key)))
    )(keys)

  def layer_axes(self) -> Tree:
    """Axis names of the layers' parameters, `layers` first."""
    return jax.tree.map(
      lambda names: (shapes.LAYERS, *names),
      axes_of(functools.partial(Layer, self.spec)),
      is_leaf=lambda leaf: isinstance(leaf, tuple),
    )

  def __call__(
    self,
    params: Tree,
    embedding: Embedding,
    tokens_BS: jax.Array,
    positions_BS: jax.Array,
    view: View,
    dtype: str,
    key: jax.Array | None,
  ) -> jax.Array:
    """Runs tokens through all layers: [B, S, D], normalised.

    Args:
      params: see above.
      embedding: token vectors.
      tokens_BS: i32[B, S].
      positions_BS: i32[B, S].
      view: masks, and what an encoder gave; the rest is filled in here.
      dtype: of the activations.
      key: of dropout; None: nothing is dropped.
    """
    spec, rate = self.spec, self.spec.dropout
    parts = {
      name: nnx.merge(graph_of(make), params[name])
      for name, make in self.parts().items()
    }
    table = parts.get('positions')
    x_BSD = self.input.scaled(embedding.encode(tokens_BS, jnp.dtype(dtype)))
    x_BSD = self.positions.add(table, x_BSD, positions_BS)
    if 'embedding_norm' in parts:
      x_BSD = parts['embedding_norm'](x_BSD)
    keys = None
    if key is not None and rate:
      keys = jax.random.split(key, spec.layers + 1)
      x_BSD, keys = dropout(x_BSD, rate, keys[0]), keys[1:]
    length = tokens_BS.shape[1]
    view = view._replace(
      angles=self.positions.angles(positions_BS, spec.head_dim),
      bias_HST=self.positions.bias(table, length, spec.heads, self.both_ways),
    )
    windows = None
    if spec.attention.windows:
      turns = -(-spec.layers // len(spec.attention.windows))
      windows = jnp.array((spec.attention.windows * turns)[: spec.layers])
    layer = graph_of(functools.partial(Layer, spec))

    def run_layer(x_BSD, scanned):
      layer_params, window, key = scanned
      return nnx.merge(layer, layer_params)(x_BSD, view, window, key), None

    if self.remat != 'none':
      run_layer = jax.checkpoint(
        run_layer,
        policy=REMAT_POLICIES[self.remat],
        # scan already keeps the passes apart; without this XLA must too.
        prevent_cse=False,
      )
    x_BSD, _ = jax.lax.scan(
      run_layer,
      x_BSD,
      (params['layers'], windows, keys),
      unroll=min(self.unroll, spec.layers),
    )
    if 'final_norm' in parts:
      x_BSD = parts['final_norm'](x_BSD)
    return x_BSD


def _leaves(make) -> list[jax.Array]:
  module = make(nnx.Rngs(params=jax.random.key(0)))
  return [] if module is None else jax.tree.leaves(params_of(module))
