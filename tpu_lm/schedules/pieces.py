"""The formulas that schedules are put together from.

Each returns a `Piece`: a function of n, the steps taken since it began, from
`start` at n = 0 to `end` at n = length. Below, u = n / length.
"""

import jax.numpy as jnp
import optax

from tpu_lm.schedules.base import Piece


def constant(length: int, rate: float) -> Piece:
  """rate."""
  return Piece(length, optax.constant_schedule(rate))


def linear(length: int, start: float, end: float) -> Piece:
  """start (1 - u) + end u."""

  def rate(n):
    # optax.linear_schedule adds (start - end) (1 - u) to end, which in float32
    # leaves the first rate of a warm-up over a million steps 3 % off.
    u = n / length
    return start * (1 - u) + end * u

  return Piece(length, rate)


def cosine(length: int, start: float, end: float) -> Piece:
  """end + (start - end) (1 + cos(pi u)) / 2, for start > 0."""
  return Piece(length, optax.cosine_decay_schedule(start, length, end / start))


def exponential(length: int, start: float, end: float) -> Piece:
  """start (end / start)^u, for start, end > 0."""
  return Piece(length, optax.exponential_decay(start, length, end / start))


def one_minus_sqrt(length: int, start: float, end: float) -> Piece:
  """end + (start - end) (1 - sqrt(u))."""

  def rate(n):
    return end + (start - end) * (1 - jnp.sqrt(n / length))

  return Piece(length, rate)


def inverse_square_root(
  length: int, start: float, end: float, timescale: float
) -> Piece:
  """start + (end - start) f(u) / f(1), f(u) = 1 / sqrt(1 + timescale u) - 1."""

  def bend(u):
    return 1 / jnp.sqrt(1 + timescale * u) - 1

  def rate(n):
    return start + (end - start) * (bend(n / length) / bend(1.0))

  return Piece(length, rate)


def power(length: int, start: float, exponent: float, timescale: int) -> Piece:
  """start (1 + n / timescale)^exponent, whatever it comes to at the end."""

  def rate(n):
    return start * (1 + n / timescale) ** exponent

  return Piece(length, rate)
