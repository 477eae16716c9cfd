"""Causal self-attention with grouped queries over packed documents."""

import jax
import jax.numpy as jnp
from flax import nnx

from tpu_lm.blocks.norms import RMSNorm
from tpu_lm.blocks.parameter import normal, project
from tpu_lm.blocks.positions import rotate
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


def attend(query_BSHK, key_BTNK, value_BTNK, mask) -> jax.Array:
  """Softmax attention, grouped (Ainslie et al. 2023): H = N * G.

  Args:
    query_BSHK: queries, already position-encoded.
    key_BTNK: keys, likewise; each serves G query heads.
    value_BTNK: values.
    mask: bool, broadcast to [B, N, G, S, T].

  Returns:
    [B, S, H, K] in the dtype of the queries; the softmax is in float32.
  """
  batch, sequence, heads, head_dim = query_BSHK.shape
  kv_heads = key_BTNK.shape[2]
  query_BSNGK = query_BSHK.reshape(batch, sequence, kv_heads, -1, head_dim)
  logits_BNGST = jnp.einsum(
    'BSNGK,BTNK->BNGST',
    query_BSNGK * head_dim**-0.5,
    key_BTNK,
    preferred_element_type=jnp.float32,
  )
  logits_BNGST = jnp.where(mask, logits_BNGST, MASKED)
  weights_BNGST = jax.nn.softmax(logits_BNGST, axis=-1)
  out_BSNGK = jnp.einsum(
    'BNGST,BTNK->BSNGK', weights_BNGST.astype(value_BTNK.dtype), value_BTNK
  )
  return out_BSNGK.reshape(batch, sequence, heads, head_dim)


class Attention(nnx.Module):
  """Projections around `attend`, with rotary positions and optional QK-norm.

  Args:
    embed: D.
    heads: H query heads.
    kv_heads: N key/value heads; divides H.
    head_dim: K.
    query_key_norm: normalise queries and keys over K before the rotation
      (Dehghani et al. 2023, section 2), or None; the value is the epsilon.
    out_stddev: deviation of the output projection's initial values.
    rngs: keys of the initial values.
  """

  def __init__(
    self,
    embed: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    query_key_norm: float | None,
    out_stddev: float,
    rngs: nnx.Rngs,
  ):
    into = embed**-0.5
    query_axes = (EMBED, HEADS, HEAD_DIM)
    kv_shape, kv_axes = (embed, kv_heads, head_dim), (EMBED, KV_HEADS, HEAD_DIM)
    self.query = normal(rngs, (embed, heads, head_dim), query_axes, into)
    self.key = normal(rngs, kv_shape, kv_axes, into)
    self.value = normal(rngs, kv_shape, kv_axes, into)
    out_axes = (HEADS, HEAD_DIM, EMBED)
    self.out = normal(rngs, (heads, head_dim, embed), out_axes, out_stddev)
    # Assigned once: NNX fixes at the first assignment what is a module.
    self.query_norm = self._norm(head_dim, query_key_norm)
    self.key_norm = self._norm(head_dim, query_key_norm)

  @staticmethod
  def _norm(head_dim: int, epsilon: float | None) -> RMSNorm | None:
    return None if epsilon is None else RMSNorm(head_dim, epsilon, HEAD_DIM)

  def __call__(self, x_BSD, angles, mask) -> jax.Array:
    """[B, S, D] -> [B, S, D]; `angles` from `rotary_angles`."""

    def heads_of(kernel, axis):
      return constrain(project(x_BSD, kernel), BATCH, SEQUENCE, axis, HEAD_DIM)

    query_BSHK = heads_of(self.query, HEADS)
    key_BTNK = heads_of(self.key, KV_HEADS)
    value_BTNK = heads_of(self.value, KV_HEADS)
    if self.query_norm is not None:
      query_BSHK = self.query_norm(query_BSHK)
      key_BTNK = self.key_norm(key_BTNK)
    out_BSHK = attend(
      rotate(query_BSHK, angles), rotate(key_BTNK, angles), value_BTNK, mask
    )
    return project(out_BSHK, self.out, inputs=2)
