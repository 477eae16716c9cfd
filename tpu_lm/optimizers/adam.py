"""Adam's direction, in a state that says how it was gathered."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from tpu_lm.tree import Tree


class AdamState(NamedTuple):
  """Adam's moments with the decay rates they were gathered with.

  The rates are here so that `carry.py` can remove the bias of the moments of
  a parent phase whatever it was configured with.

  Attributes:
    b1: f32[], decay rate of the first moment.
    b2: f32[], decay rate of the second.
    count: i32[], updates seen.
    mu: like params, first moment, biased towards 0.
    nu: like params, second moment, biased towards 0.
  """

  b1: jax.Array
  b2: jax.Array
  count: jax.Array
  mu: Tree
  nu: Tree


def scale_by_adam(
  b1: float, b2: float, eps: float
) -> optax.GradientTransformation:
  """`optax.scale_by_adam` with an `AdamState`.

  mu_hat / (sqrt(nu_hat) + eps) (Kingma and Ba 2015, arXiv 1412.6980,
  algorithm 1).
  """
  adam = optax.scale_by_adam(b1, b2, eps)

  def init(params):
    return AdamState(jnp.float32(b1), jnp.float32(b2), *adam.init(params))

  def update(gradients, state, params=None):
    moments = optax.ScaleByAdamState(state.count, state.mu, state.nu)
    direction, moments = adam.update(gradients, moments, params)
    return direction, AdamState(state.b1, state.b2, *moments)

  return optax.GradientTransformation(init, update)
