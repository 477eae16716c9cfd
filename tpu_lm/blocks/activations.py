"""Activations, by name, dropout, and a cap for logits."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from tpu_lm.checks import nearest, require


def _gelu(x: jax.Array) -> jax.Array:
  return jax.nn.gelu(x, approximate=False)


def _gelu_tanh(x: jax.Array) -> jax.Array:
  return jax.nn.gelu(x, approximate=True)


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
  'relu': jax.nn.relu,
  'gelu': _gelu,  # Hendrycks and Gimpel (2016), section 2, exact
  'gelu_tanh': _gelu_tanh,  # their approximation by tanh
  'silu': jax.nn.silu,
}


def check_activation(key: str, name: str) -> None:
  """UserError unless there is an activation of this name."""
  hint = f'is not known.{nearest(str(name), ACTIVATIONS)}'
  require(name in tuple(ACTIVATIONS), key, name, hint)


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
  """Sets a share of values to 0 and scales the others so that means stay.

  Srivastava et al. (2014), section 10, in the form that leaves evaluation
  alone.

  Args:
    x: any values.
    rate: the share, in [0, 1).
    key: of the draw; None: nothing is done.
  """
  if key is None or rate == 0:
    return x
  # Drawn in two dimensions: for five XLA takes longer to compile.
  kept = jax.random.bernoulli(key, 1 - rate, (len(x), x.size // len(x)))
  return jnp.where(kept.reshape(x.shape), x / (1 - rate), 0).astype(x.dtype)


def capped(logits: jax.Array, softcap: float | None) -> jax.Array:
  """Keeps logits within +-softcap smoothly; unchanged where it is None."""
  return logits if softcap is None else softcap * jnp.tanh(logits / softcap)
