"""From tokens to vectors."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from tpu_lm.blocks.norms import check_norm
from tpu_lm.blocks.parameter import normal
from tpu_lm.checks import is_number, require
from tpu_lm.shapes import BATCH, EMBED, SEQUENCE, VOCAB
from tpu_lm.sharding import constrain


class Embedding(nnx.Module):
  """A table of token vectors, which logits may be read from, too (tied)."""

  def __init__(self, vocabulary: int, embed: int, rngs: nnx.Rngs):
    self.table = token_table(vocabulary, embed, rngs)

  def encode(self, tokens_BS: jax.Array, dtype) -> jax.Array:
    """i32[B, S] -> [B, S, D] in `dtype`."""
    vectors_BSD = jnp.take(self.table[...].astype(dtype), tokens_BS, axis=0)
    return constrain(vectors_BSD, BATCH, SEQUENCE, EMBED)


def token_table(vocabulary: int, embed: int, rngs: nnx.Rngs) -> nnx.Param:
  """Fresh vectors of tokens, f32[V, D]."""
  # Deviation D^-0.5 gives logits of unit variance at the start.
  shape, axes = (vocabulary, embed), (VOCAB, EMBED)
  return normal(rngs, shape, axes, embed**-0.5)


@dataclasses.dataclass(frozen=True)
class Input:
  """What becomes of token vectors before the first layer.

  Attributes:
    scale: they are multiplied by it: a number, or 'sqrt' for sqrt(D) (Vaswani
      et al. 2017, section 3.4; Gemma).
    norm: of `norms`, of the sum of token and position vectors (BERT, BART).
  """

  scale: float | str = 1.0
  norm: Any = None

  def __post_init__(self):
    good = self.scale == 'sqrt' or (is_number(self.scale) and self.scale > 0)
    must = "must be a number above 0, or 'sqrt'"
    require(good, 'Input.scale', self.scale, must)
    if self.norm is not None:
      check_norm('Input.norm', self.norm)

  def scaled(self, x_BSD: jax.Array) -> jax.Array:
    """[B, S, D] -> [B, S, D]."""
    if self.scale == 1.0:
      return x_BSD
    scale = x_BSD.shape[-1] ** 0.5 if self.scale == 'sqrt' else self.scale
    return x_BSD * jnp.asarray(scale, x_BSD.dtype)
