"""Attention with grouped queries over packed documents."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from tpu_lm.blocks.activations import dropout
from tpu_lm.blocks.heads import capped
from tpu_lm.blocks.parameter import normal, project, zeros
from tpu_lm.blocks.rotary import rotate
from tpu_lm.checks import check_number, require
from tpu_lm.shapes import (
  BATCH,
  EMBED,
  HEAD_DIM,
  HEADS,
  KV_HEADS,
  SEQUENCE,
)
from tpu_lm.sharding import constrain

# Large enough to vanish in a softmax, small enough to stay finite in float32
# when a row has nothing else.
MASKED = -1e30
NORMED = (None, 'head', 'width')


@dataclasses.dataclass(frozen=True)
class Attention:
  """What attention layers are, besides their sizes.

  Attributes:
    bias: whether queries, keys and values have one.
    out_bias: whether what comes out has one.
    query_key_norm: 'head' normalises each head's queries and keys (Dehghani et
      al. 2023, section 2; Qwen3), 'width' all heads' together (OLMo 2); None.
    scale: of the logits; None for K^-0.5 (T5: 1).
    softcap: c: logits become c * tanh(logits / c) (Gemma 2), or None.
    windows: how many tokens back a query sees, itself included, and as many
      ahead where it sees both ways; by layer, over and over; 0: all. (4096,) is
      Mistral's, (4096, 0) Gemma 2's. Of self-attention.
  """

  bias: bool = False
  out_bias: bool = False
  query_key_norm: str | None = None
  scale: float | None = None
  softcap: float | None = None
  windows: tuple[int, ...] = ()

  def __post_init__(self):
    for name in ('bias', 'out_bias'):
      value = getattr(self, name)
      require(type(value) is bool, f'Attention.{name}', value, 'must be a bool')
    good = self.query_key_norm in NORMED
    must = f'must be one of {NORMED}'
    require(good, 'Attention.query_key_norm', self.query_key_norm, must)
    for name in ('scale', 'softcap'):
      value = getattr(self, name)
      if value is not None:
        check_number(f'Attention.{name}', value, above=0)
    good = isinstance(self.windows, tuple | list)
    good = good and all(
      type(window) is int and window >= 0 for window in self.windows
    )
    must = 'must be a tuple of ints >= 0'
    require(good, 'Attention.windows', self.windows, must)
    object.__setattr__(self, 'windows', tuple(self.windows))


def causal_mask(segments_BS: jax.Array) -> jax.Array:
  """bool[B, 1, 1, S, T]: which keys a query may see.

  A key is seen if it is not later than the query and of the same document.
  Padding (segment 0) sees padding, so that no row of a softmax is empty.
  """
  sequence = segments_BS.shape[1]
  order = jnp.arange(sequence)
  earlier_ST = order[:, None] >= order[None, :]
  same_BST = segments_BS[:, :, None] == segments_BS[:, None, :]
  return (earlier_ST & same_BST)[:, None, None]


def prefix_mask(segments_BS: jax.Array, prefix_BS: jax.Array) -> jax.Array:
  """As `causal_mask`, and keys of the prefix are seen by all of a document."""
  same = segment_mask(segments_BS, segments_BS)
  return causal_mask(segments_BS) | (
    same & (prefix_BS > 0)[:, None, None, None]
  )


def segment_mask(query_BS: jax.Array, key_BT: jax.Array) -> jax.Array:
  """bool[B, 1, 1, S, T]: keys of the same document, earlier or later."""
  return (query_BS[:, :, None] == key_BT[:, None, :])[:, None, None]


def within(mask: jax.Array, window: jax.Array | int) -> jax.Array:
  """Hides keys `window` tokens from the query and further; 0 hides none."""
  query, key = jnp.arange(mask.shape[-2]), jnp.arange(mask.shape[-1])
  near_ST = jnp.abs(query[:, None] - key[None, :]) < window
  return mask & (near_ST | (window == 0))


def attend(
  query_BSHK,
  key_BTNK,
  value_BTNK,
  mask,
  *,
  scale: float | None = None,
  softcap: float | None = None,
  bias_HST: jax.Array | None = None,
  rate: float = 0.0,
  key: jax.Array | None = None,
) -> jax.Array:
  """Softmax attention, grouped (Ainslie et al. 2023): H = N * G.

  Args:
    query_BSHK: queries, already position-encoded.
    key_BTNK: keys, likewise; each serves G query heads.
    value_BTNK: values.
    mask: bool, broadcast to [B, N, G, S, T].
    scale: of the logits; None: K^-0.5.
    softcap: keeps logits within it, see `heads.capped`; None: doesn't.
    bias_HST: f32, added to the logits.
    rate: share of the attention weights that is dropped, where there is a key.
    key: of the dropout.

  Returns:
    [B, S, H, K] in the dtype of the queries; the softmax is in float32.
  """
  batch, sequence, heads, head_dim = query_BSHK.shape
  kv_heads = key_BTNK.shape[2]
  query_BSNGK = query_BSHK.reshape(batch, sequence, kv_heads, -1, head_dim)
  logits_BNGST = jnp.einsum(
    'BSNGK,BTNK->BNGST',
    query_BSNGK * (head_dim**-0.5 if scale is None else scale),
    key_BTNK,
    preferred_element_type=jnp.float32,
  )
  logits_BNGST = capped(logits_BNGST, softcap)
  if bias_HST is not None:
    logits_BNGST += bias_HST.reshape(kv_heads, -1, *bias_HST.shape[1:])
  logits_BNGST = jnp.where(mask, logits_BNGST, MASKED)
  weights_BNGST = jax.nn.softmax(logits_BNGST, axis=-1)
  weights_BNGST = dropout(weights_BNGST, rate, key)
  out_BSNGK = jnp.einsum(
    'BNGST,BTNK->BSNGK', weights_BNGST.astype(value_BTNK.dtype), value_BTNK
  )
  return out_BSNGK.reshape(batch, sequence, heads, head_dim)


class AttentionLayer(nnx.Module):
  """Projections around `attend`.

  Args:
    spec: biases, norms, scale and caps.
    embed: D.
    heads: H query heads.
    kv_heads: N key/value heads; divides H.
    head_dim: K.
    norm: of `norms`, for queries and keys.
    out_stddev: deviation of the output projection's initial values.
    rngs: keys of the initial values.
  """

  def __init__(
    self,
    spec: Attention,
    embed: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    norm,
    out_stddev: float,
    rngs: nnx.Rngs,
  ):
    into = embed**-0.5
    # Queries begin so small that logits have unit variance at any scale (T5
    # has 1, and divides the deviation instead).
    to_query = (
      into if spec.scale is None else into * head_dim**-0.5 / spec.scale
    )
    query_shape, query_axes = (heads, head_dim), (HEADS, HEAD_DIM)
    kv_shape, kv_axes = (kv_heads, head_dim), (KV_HEADS, HEAD_DIM)
    self.spec = spec
    self.query = normal(
      rngs, (embed, *query_shape), (EMBED, *query_axes), to_query
    )
    self.key = normal(rngs, (embed, *kv_shape), (EMBED, *kv_axes), into)
    self.value = normal(rngs, (embed, *kv_shape), (EMBED, *kv_axes), into)
    out_shape, out_axes = (*query_shape, embed), (*query_axes, EMBED)
    self.out = normal(rngs, out_shape, out_axes, out_stddev)
    # Assigned once each: NNX fixes at the first assignment what a module is.
    bias = spec.bias
    self.query_bias = zeros(query_shape, query_axes) if bias else None
    self.key_bias = zeros(kv_shape, kv_axes) if bias else None
    self.value_bias = zeros(kv_shape, kv_axes) if bias else None
    self.out_bias = zeros((embed,), (EMBED,)) if spec.out_bias else None
    sizes = {
      None: None,
      'head': (head_dim, head_dim),
      'width': (heads * head_dim, kv_heads * head_dim),
    }[spec.query_key_norm]
    # All heads together are split as heads are; one head is not split.
    axes = (HEAD_DIM, HEAD_DIM)
    if spec.query_key_norm == 'width':
      axes = (HEADS, KV_HEADS)
    self.query_norm = sizes and norm.make(sizes[0], axes[0])
    self.key_norm = sizes and norm.make(sizes[1], axes[1])

  def __call__(
    self,
    x_BSD: jax.Array,
    source_BTD: jax.Array,
    mask: jax.Array,
    *,
    angles=None,
    bias_HST: jax.Array | None = None,
    rate: float = 0.0,
    key: jax.Array | None = None,
  ) -> jax.Array:
    """[B, S, D] -> [B, S, D].

    Args:
      x_BSD: what asks.
      source_BTD: what is looked at; `x_BSD` itself in self-attention.
      mask: as of `attend`, and so are bias_HST, rate and key.
      angles: of `rotary_angles`, for queries and keys alike.
    """

    def heads_of(x, kernel, bias, axis, norm=None):
      out = constrain(
        project(x, kernel, bias=bias), BATCH, SEQUENCE, axis, HEAD_DIM
      )
      if norm is None:
        return out
      if self.spec.query_key_norm == 'head':
        return norm(out)
      return norm(out.reshape(*out.shape[:2], -1)).reshape(out.shape)

    query_BSHK = heads_of(
      x_BSD, self.query, self.query_bias, HEADS, self.query_norm
    )
    key_BTNK = heads_of(
      source_BTD, self.key, self.key_bias, KV_HEADS, self.key_norm
    )
    value_BTNK = heads_of(source_BTD, self.value, self.value_bias, KV_HEADS)
    out_BSHK = attend(
      rotate(query_BSHK, angles),
      rotate(key_BTNK, angles),
      value_BTNK,
      mask,
      scale=self.spec.scale,
      softcap=self.spec.softcap,
      bias_HST=bias_HST,
      rate=rate,
      key=key,
    )
    return project(out_BSHK, self.out, inputs=2, bias=self.out_bias)
