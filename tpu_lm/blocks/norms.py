"""Normalisation."""

import jax
import jax.numpy as jnp
from flax import nnx

from tpu_lm.blocks.parameter import ones
from tpu_lm.shapes import EMBED


class RMSNorm(nnx.Module):
  """Root-mean-square norm over the last dimension, computed in float32.

  y = x / sqrt(mean(x^2) + epsilon) * scale; Zhang and Sennrich (2019),
  "Root Mean Square Layer Normalization", equation 4.
  """

  def __init__(self, size: int, epsilon: float, axis: str = EMBED):
    self.epsilon = epsilon
    self.scale = ones((size,), (axis,))

  def __call__(self, x: jax.Array) -> jax.Array:
    """Normalises [..., size]; the dtype of `x` is kept."""
    x32 = x.astype(jnp.float32)
    mean_square = jnp.mean(jnp.square(x32), axis=-1, keepdims=True)
    normed = x32 * jax.lax.rsqrt(mean_square + self.epsilon)
    return (normed * self.scale[...]).astype(x.dtype)
