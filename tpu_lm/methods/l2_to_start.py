"""A pull towards the weights that the phase began with."""

import dataclasses

import jax
import jax.numpy as jnp

from tpu_lm.checks import check_number
from tpu_lm.state import Method
from tpu_lm.tree import Tree


@dataclasses.dataclass(frozen=True)
class L2ToStart(Method):
  """Adds strength * sum((params - start)^2) / 2 to the loss.

  "L2-SP" of Li, Grandvalet and Davoine (2018), "Explicit Inductive Bias for
  Transfer Learning with Convolutional Networks", equation 2, over all
  parameters. The square, not the norm, so that its gradient at the start is
  zero and not NaN.

  Attributes:
    strength: alpha; its slot is a copy of the parameters at phase entry.
  """

  strength: float = 1e-2

  def __post_init__(self):
    check_number('L2ToStart.strength', self.strength, above=0)

  def init(self, params: Tree) -> Tree:
    """The starting weights."""
    return jax.tree.map(jnp.copy, params)

  def loss(self, params, slot, batch, out) -> jax.Array:
    """f32[], the penalty."""
    squares = jax.tree.map(lambda p, s: jnp.sum((p - s) ** 2), params, slot)
    return 0.5 * self.strength * sum(jax.tree.leaves(squares))
