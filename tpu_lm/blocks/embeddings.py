"""From tokens to vectors, and from vectors to logits."""

import jax
import jax.numpy as jnp
from flax import nnx

from tpu_lm.blocks.parameter import normal
from tpu_lm.shapes import BATCH, EMBED, SEQUENCE, VOCAB
from tpu_lm.sharding import constrain


class Embedding(nnx.Module):
  """A table of token vectors, which may also read the logits (tied)."""

  def __init__(self, vocabulary: int, embed: int, rngs: nnx.Rngs):
    # Deviation D^-0.5 gives tied logits of unit variance at the start.
    shape, axes = (vocabulary, embed), (VOCAB, EMBED)
    self.table = normal(rngs, shape, axes, embed**-0.5)

  def encode(self, tokens_BS: jax.Array, dtype) -> jax.Array:
    """i32[B, S] -> [B, S, D] in `dtype`."""
    vectors_BSD = jnp.take(self.table[...].astype(dtype), tokens_BS, axis=0)
    return constrain(vectors_BSD, BATCH, SEQUENCE, EMBED)

  def logits(self, x_BSD: jax.Array) -> jax.Array:
    """[B, S, D] -> f32[B, S, V]."""
    logits_BSV = jnp.einsum(
      'BSD,VD->BSV',
      x_BSD,
      self.table[...].astype(x_BSD.dtype),
      preferred_element_type=jnp.float32,
    )
    return constrain(logits_BSV, BATCH, SEQUENCE, VOCAB)
