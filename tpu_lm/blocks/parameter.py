"""How a block declares a parameter: initial values, shape, axis names."""

import jax
import jax.numpy as jnp
from flax import nnx


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
