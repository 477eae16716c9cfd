"""Rotary position embedding; Su et al. (2021), "RoFormer", section 3.2.

Computed from the positions of the batch, so that documents packed in one row
each start at position 0. Halves are paired (i, i + K/2), as in Llama.
"""

import jax
import jax.numpy as jnp


def rotary_angles(positions_BS: jax.Array, head_dim: int, base: float):
  """Cosines and sines, each f32[B, S, 1, K/2], of the angle p * base^(-2i/K).

  Args:
    positions_BS: i32[B, S].
    head_dim: K, even; of the channels that turn.
    base: wavelengths run from 2 pi to 2 pi * base tokens.
  """
  exponents = jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim
  angles = positions_BS[:, :, None, None] * base**-exponents
  return jnp.cos(angles), jnp.sin(angles)


def rotate(x_BSHK: jax.Array, angles: tuple[jax.Array, jax.Array] | None):
  """Turns each pair of channels by its angle; the dtype of `x` is kept.

  Where there are angles for fewer channels than K, the first ones turn and the
  others stay (GPT-NeoX).
  """
  if angles is None:
    return x_BSHK
  cos, sin = angles
  turning = 2 * cos.shape[-1]
  x_BSHR, rest = x_BSHK[..., :turning], x_BSHK[..., turning:]
  first, second = jnp.split(x_BSHR.astype(jnp.float32), 2, axis=-1)
  turned = first * cos - second * sin, second * cos + first * sin
  x_BSHR = jnp.concatenate(turned, axis=-1).astype(x_BSHK.dtype)
  return jnp.concatenate([x_BSHR, rest], -1) if rest.shape[-1] else x_BSHR
