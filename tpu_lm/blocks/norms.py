"""Normalisation."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from tpu_lm.blocks.parameter import ones, zeros
from tpu_lm.checks import check_number, require
from tpu_lm.shapes import EMBED


class RMSNorm(nnx.Module):
  """Root-mean-square norm over the last dimension, computed in float32.

  y = x / sqrt(mean(x^2) + epsilon) * scale; Zhang and Sennrich (2019),
  "Root Mean Square Layer Normalization", equation 4. With `one_plus` the scale
  is kept as its difference from 1, so that weight decay pulls it there (Gemma).
  """

  def __init__(
    self, size: int, epsilon: float, axis: str = EMBED, one_plus: bool = False
  ):
    self.epsilon = epsilon
    self.one_plus = one_plus
    self.scale = (zeros if one_plus else ones)((size,), (axis,))

  def __call__(self, x: jax.Array) -> jax.Array:
    """Normalises [..., size]; the dtype of `x` is kept."""
    x32 = x.astype(jnp.float32)
    mean_square = jnp.mean(jnp.square(x32), axis=-1, keepdims=True)
    normed = x32 * jax.lax.rsqrt(mean_square + self.epsilon)
    scale = 1 + self.scale[...] if self.one_plus else self.scale[...]
    return (normed * scale).astype(x.dtype)


class LayerNorm(nnx.Module):
  """Layer norm over the last dimension, computed in float32.

  y = (x - mean(x)) / sqrt(var(x) + epsilon) * scale + bias; Ba et al. (2016),
  "Layer Normalization", equation 4.
  """

  def __init__(self, size: int, epsilon: float, axis: str, bias: bool):
    self.epsilon = epsilon
    self.scale = ones((size,), (axis,))
    self.bias = zeros((size,), (axis,)) if bias else None

  def __call__(self, x: jax.Array) -> jax.Array:
    """Normalises [..., size]; the dtype of `x` is kept."""
    x32 = x.astype(jnp.float32)
    centred = x32 - jnp.mean(x32, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    normed = centred * jax.lax.rsqrt(variance + self.epsilon) * self.scale[...]
    if self.bias is not None:
      normed += self.bias[...]
    return normed.astype(x.dtype)


@dataclasses.dataclass(frozen=True)
class RMS:
  """Root-mean-square norms.

  Attributes:
    epsilon: added to the mean square.
    one_plus: whether scales are kept as their differences from 1.
  """

  epsilon: float = 1e-6
  one_plus: bool = False

  def __post_init__(self):
    check_number('RMS.epsilon', self.epsilon, above=0)
    good = type(self.one_plus) is bool
    require(good, 'RMS.one_plus', self.one_plus, 'must be a bool')

  def make(self, size: int, axis: str = EMBED) -> RMSNorm:
    """A norm of [..., size]."""
    return RMSNorm(size, self.epsilon, axis, self.one_plus)


@dataclasses.dataclass(frozen=True)
class Layer:
  """Layer norms.

  Attributes:
    epsilon: added to the variance.
    bias: whether something is added after the scale.
  """

  epsilon: float = 1e-5
  bias: bool = True

  def __post_init__(self):
    check_number('Layer.epsilon', self.epsilon, above=0)
    require(type(self.bias) is bool, 'Layer.bias', self.bias, 'must be a bool')

  def make(self, size: int, axis: str = EMBED) -> LayerNorm:
    """A norm of [..., size]."""
    return LayerNorm(size, self.epsilon, axis, self.bias)


def check_norm(key: str, norm: Any) -> None:
  """UserError unless `norm` is one of those above."""
  good = isinstance(norm, RMS | Layer)
  require(good, key, norm, 'must be of blocks/norms.py, in gin @norms.RMS()')
