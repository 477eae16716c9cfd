"""A decoder: pre-norm, rotary, grouped queries, SwiGLU, scanned layers."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from tpu_lm import shapes
from tpu_lm.blocks.attention import Attention, causal_mask
from tpu_lm.blocks.embeddings import Embedding
from tpu_lm.blocks.feed_forward import SwiGLU
from tpu_lm.blocks.norms import RMSNorm
from tpu_lm.blocks.positions import rotary_angles
from tpu_lm.checks import check_number, nearest, require
from tpu_lm.sharding import constrain
from tpu_lm.tree import Tree

# What the backward pass keeps of a layer; all else is computed again.
REMAT_POLICIES = {
  'none': jax.checkpoint_policies.everything_saveable,
  'dots': jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
  'full': jax.checkpoint_policies.nothing_saveable,
}
DTYPES = ('float32', 'bfloat16')
SIZES = (
  'vocabulary',
  'layers',
  'embed',
  'heads',
  'kv_heads',
  'head_dim',
  'mlp',
  'unroll',
)


class Out(NamedTuple):
  """What a model gives an objective."""

  logits_BSV: jax.Array  # float32
  hidden_BSD: jax.Array  # after the last norm, in the model's dtype


class DecoderLayer(nnx.Module):
  """x + attention(norm(x)), then x + feed_forward(norm(x))."""

  def __init__(self, model: 'Decoder', rngs: nnx.Rngs):
    # Each layer adds twice to the residual stream; scaling what it adds by
    # 1/sqrt(2 L) keeps the stream's variance at 1 (Radford et al. 2019).
    shrink = (2 * model.layers) ** -0.5
    heads, head_dim = model.heads, model.head_dim
    epsilon = model.norm_epsilon
    self.attention_norm = RMSNorm(model.embed, epsilon)
    self.attention = Attention(
      model.embed,
      heads,
      model.kv_heads,
      head_dim,
      epsilon if model.query_key_norm else None,
      shrink * (heads * head_dim) ** -0.5,
      rngs,
    )
    self.feed_forward_norm = RMSNorm(model.embed, epsilon)
    self.feed_forward = SwiGLU(
      model.embed, model.mlp, shrink * model.mlp**-0.5, rngs
    )

  def __call__(self, x_BSD, angles, mask) -> jax.Array:
    """[B, S, D] -> [B, S, D]."""
    x_BSD += self.attention(self.attention_norm(x_BSD), angles, mask)
    x_BSD += self.feed_forward(self.feed_forward_norm(x_BSD))
    return constrain(x_BSD, shapes.BATCH, shapes.SEQUENCE, shapes.EMBED)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoder:
  """A decoder-only language model of the Llama kind.

  Attributes:
    vocabulary: V, number of token ids.
    layers: L.
    embed: D, width of the residual stream.
    heads: H, query heads.
    kv_heads: N, key/value heads; divides `heads`.
    head_dim: K, even.
    mlp: F, width of the feed-forward layer.
    rotary_base: longest rotary wavelength is 2 pi times this, in tokens.
    tied_embeddings: logits read the token table, no head of their own.
    query_key_norm: normalise queries and keys.
    norm_epsilon: added to the mean square in every norm.
    dtype: of activations and of weights in use, float32 or bfloat16; weights
      are kept, and norms, softmax and logits computed, in float32.
    remat: what is kept for the backward pass: none (everything is kept), dots
      (matrix products without a batch dimension), full (layer inputs only).
    unroll: layers to a turn of the scan; more compiles longer, and on CPU
      runs faster.
  """

  vocabulary: int
  layers: int
  embed: int
  heads: int
  kv_heads: int
  head_dim: int
  mlp: int
  rotary_base: float = 10_000.0
  tied_embeddings: bool = True
  query_key_norm: bool = False
  norm_epsilon: float = 1e-6
  dtype: str = 'bfloat16'
  remat: str = 'none'
  unroll: int = 1

  def __post_init__(self):
    for name in SIZES:
      value = getattr(self, name)
      good = type(value) is int and value > 0
      require(good, f'Decoder.{name}', value, 'must be a positive int')
    divides = self.heads % self.kv_heads == 0
    must = f'must divide heads = {self.heads}'
    require(divides, 'Decoder.kv_heads', self.kv_heads, must)
    even = self.head_dim % 2 == 0
    require(even, 'Decoder.head_dim', self.head_dim, 'must be even')
    for name in ('rotary_base', 'norm_epsilon'):
      check_number(f'Decoder.{name}', getattr(self, name), above=0)
    for name in ('tied_embeddings', 'query_key_norm'):
      value = getattr(self, name)
      require(type(value) is bool, f'Decoder.{name}', value, 'must be a bool')
    for name, known in (('dtype', DTYPES), ('remat', REMAT_POLICIES)):
      value = getattr(self, name)
      hint = f'is not known.{nearest(str(value), known)}'
      require(value in known, f'Decoder.{name}', value, hint)

  def init(self, key: jax.Array) -> Tree:
    """Fresh parameters: nested dicts of float32; layers are stacked first."""
    layer_key, rest_key = jax.random.split(key)
    layer_keys = jax.random.split(layer_key, self.layers)
    return {
      **{
        name: _params(make(nnx.Rngs(params=jax.random.fold_in(rest_key, i))))
        for i, (name, make) in enumerate(self._parts().items())
      },
      'layers': jax.vmap(
        lambda key: _params(DecoderLayer(self, nnx.Rngs(params=key)))
      )(layer_keys),
    }

  def axes(self) -> Tree:
    """Axis names of every parameter: the structure of `init`'s result."""
    parts = {name: _axes(make) for name, make in self._parts().items()}
    layer = _axes(functools.partial(DecoderLayer, self))
    stacked = jax.tree.map(
      lambda names: (shapes.LAYERS, *names),
      layer,
      is_leaf=lambda leaf: isinstance(leaf, tuple),
    )
    return {**parts, 'layers': stacked}

  def apply(
    self,
    params: Tree,
    inputs_BS: jax.Array,
    segments_BS: jax.Array,
    positions_BS: jax.Array,
  ) -> Out:
    """Logits for every position; arguments as in `shapes.BATCH_KEYS`."""
    parts = {
      name: nnx.merge(_graph(make), params[name])
      for name, make in self._parts().items()
    }
    layer = _graph(functools.partial(DecoderLayer, self))
    angles = rotary_angles(positions_BS, self.head_dim, self.rotary_base)
    mask = causal_mask(segments_BS)

    def run_layer(x_BSD, layer_params):
      return nnx.merge(layer, layer_params)(x_BSD, angles, mask), None

    if self.remat != 'none':
      run_layer = jax.checkpoint(
        run_layer,
        policy=REMAT_POLICIES[self.remat],
        # scan already keeps the passes apart; without this XLA must too.
        prevent_cse=False,
      )
    x_BSD = parts['embedding'].encode(inputs_BS, jnp.dtype(self.dtype))
    x_BSD, _ = jax.lax.scan(
      run_layer,
      x_BSD,
      params['layers'],
      unroll=min(self.unroll, self.layers),
    )
    hidden_BSD = parts['final_norm'](x_BSD)
    head = parts['embedding' if self.tied_embeddings else 'head']
    return Out(head.logits(hidden_BSD), hidden_BSD)

  def _parts(self):
    """Constructors of the blocks outside the scan, by name."""
    table = functools.partial(Embedding, self.vocabulary, self.embed)
    parts = {
      'embedding': lambda rngs: table(rngs),
      'final_norm': lambda rngs: RMSNorm(self.embed, self.norm_epsilon),
    }
    return (
      parts if self.tied_embeddings else {**parts, 'head': parts['embedding']}
    )


def _params(module: nnx.Module) -> Tree:
  """A module's parameters as nested dicts of arrays."""
  return nnx.to_pure_dict(nnx.state(module))


def _abstract(make) -> nnx.Module:
  return nnx.eval_shape(lambda: make(nnx.Rngs(params=jax.random.key(0))))


def _graph(make):
  """A module's structure without its values, for `nnx.merge`."""
  return nnx.split(_abstract(make))[0]


def _axes(make) -> Tree:
  """A module's axis names as nested dicts of tuples."""
  state = nnx.state(_abstract(make))
  return nnx.to_pure_dict(
    jax.tree.map(
      lambda variable: variable.get_metadata()['axes'],
      state,
      is_leaf=lambda leaf: isinstance(leaf, nnx.Variable),
    )
  )
