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
  b1: float,
  b2: float,
  eps: float,
  first: str = 'float32',
  second: str = 'float32',
) -> optax.GradientTransformation:
  """`optax.scale_by_adam` with an `AdamState`.

  mu_hat / (sqrt(nu_hat) + eps) (Kingma and Ba 2015, arXiv 1412.6980,
  algorithm 1). Moments are computed in float32 and kept in the dtypes `first`
  and `second`.
  """
  adam = optax.scale_by_adam(b1, b2, eps)

  def kept(state: optax.ScaleByAdamState) -> AdamState:
    mu = jax.tree.map(lambda m: m.astype(first), state.mu)
    nu = jax.tree.map(lambda v: v.astype(second), state.nu)
    return AdamState(jnp.float32(b1), jnp.float32(b2), state.count, mu, nu)

  def init(params):
    return kept(adam.init(params))

  def update(gradients, state, params=None):
    mu, nu = jax.tree.map(
      lambda moment: moment.astype(jnp.float32), (state.mu, state.nu)
    )
    moments = optax.ScaleByAdamState(state.count, mu, nu)
    direction, moments = adam.update(gradients, moments, params)
    return direction, kept(moments)._replace(b1=state.b1, b2=state.b2)

  return optax.GradientTransformation(init, update)
