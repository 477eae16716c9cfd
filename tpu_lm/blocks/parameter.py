"""How a block declares a parameter, and how it multiplies with one."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from tpu_lm.blocks.quantized import multiply

# What remat policies call the results of `project`.
PRODUCT = 'product'


def normal(
  rngs: nnx.Rngs, shape: tuple[int, ...], axes: tuple[str, ...], stddev: float
) -> nnx.Param:
  """A float32 parameter drawn from a normal truncated at two deviations.

  Args:
    rngs: gives a fresh key for each parameter.
    shape: the dimensions.
    axes: the logical name of each dimension.
    stddev: standard deviation of the values as drawn, after truncation.
  """
  # 0.8796 is the deviation of a unit normal truncated at two.
  value = jax.random.truncated_normal(rngs.params(), -2, 2, shape, jnp.float32)
  # The names are kept under a key of ours: under flax's own ('out_sharding')
  # a parameter is sharded eagerly at creation, which needs a mesh in scope.
  return nnx.Param(value * (stddev / 0.87962566), axes=axes)


def ones(shape: tuple[int, ...], axes: tuple[str, ...]) -> nnx.Param:
  """A float32 parameter of ones."""
  return nnx.Param(jnp.ones(shape, jnp.float32), axes=axes)


def zeros(shape: tuple[int, ...], axes: tuple[str, ...]) -> nnx.Param:
  """A float32 parameter of zeros."""
  return nnx.Param(jnp.zeros(shape, jnp.float32), axes=axes)


def project(
  x: jax.Array,
  kernel: nnx.Param,
  inputs: int = 1,
  bias: nnx.Param | None = None,
) -> jax.Array:
  """Contracts the last dimensions of `x` with the first of `kernel`.

  It is one product of two matrices: all tokens by all inputs, all inputs by
  all outputs. As an einsum over batch and sequence it would read better, but
  XLA's CPU backend then takes 2.5 times as long for the gradients.

  Args:
    x: [..., *inputs].
    kernel: [*inputs, *outputs]; used in the dtype of `x`, and in 8 bits if it
      is marked so, see `quantized.mark`.
    inputs: how many dimensions are contracted.
    bias: [*outputs], added; None: nothing is.

  Returns:
    [..., *outputs] in the dtype of `x`.
  """
  weights = kernel[...].astype(x.dtype)
  size = math.prod(weights.shape[:inputs])
  x, matrix = x.reshape(*x.shape[:-inputs], size), weights.reshape(size, -1)
  quantization = kernel.get_metadata().get('quantization')
  if quantization is None:
    product = x.reshape(-1, size) @ matrix
  else:
    product = multiply(quantization, x, matrix)
  product = product.reshape(*x.shape[:-1], *weights.shape[inputs:])
  product = checkpoint_name(product, PRODUCT)
  return product if bias is None else product + bias[...].astype(x.dtype)
