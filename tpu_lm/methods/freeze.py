"""Train some parameters only."""

import dataclasses

import jax
import jax.numpy as jnp

from tpu_lm.checks import check_all, require
from tpu_lm.state import Method
from tpu_lm.tree import Tree, mask


@dataclasses.dataclass(frozen=True)
class Freeze(Method):
  """Keeps the parameters whose path matches exactly as they are.

  Neither gradient nor weight decay moves them.

  Attributes:
    paths: regular expressions searched in 'a/b/c' names; each must match.
  """

  paths: tuple[str, ...] = ()

  def __post_init__(self):
    check_all('Freeze.paths', self.paths, str, 'regular expressions')
    good = len(self.paths) > 0
    require(good, 'Freeze.paths', self.paths, 'must not be empty')

  def grads(self, gradients: Tree, params: Tree, slot: Tree) -> Tree:
    """Zero for frozen leaves, so that clipping does not count them."""
    frozen = mask(params, self.paths, 'Freeze.paths')
    return jax.tree.map(
      lambda g, f: jnp.zeros_like(g) if f else g, gradients, frozen
    )

  def after(self, old: Tree, params: Tree, slot: Tree) -> tuple[Tree, Tree]:
    """Puts frozen leaves back."""
    frozen = mask(params, self.paths, 'Freeze.paths')
    kept = jax.tree.map(lambda o, p, f: o if f else p, old, params, frozen)
    return kept, slot
