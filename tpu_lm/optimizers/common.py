"""The contract of an optimizer, and what all of them share.

An optimizer is a frozen dataclass with

  make(axes) -> optax.GradientTransformation

whose updates are a *direction*: the step subtracts `learning_rate * direction`
from the parameters. Neither the learning rate nor the minus sign is in here,
and no counter in the state decides the rate.
"""

import abc
import dataclasses
from collections.abc import Mapping, Sequence

import jax
import optax

from tpu_lm import shapes
from tpu_lm.checks import check_number, require
from tpu_lm.optimizers.offload import offloaded
from tpu_lm.tree import Tree, is_axes, mask

_HEADS = (shapes.HEADS, shapes.KV_HEADS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer(abc.ABC):
  """Clip the gradients, find a direction, add decay, scale by path.

  A subclass gives the second part, `core`. The state is {'direction': the
  core's state} and entries without arrays for the rest, so that turning
  clipping, decay or multipliers on in a child phase keeps its structure.

  Attributes:
    clip: greatest global norm of the gradients, None for no clipping (Pascanu
      et al. 2013, arXiv 1211.5063, algorithm 1).
    weight_decay: decoupled (Loshchilov and Hutter 2019, arXiv 1711.05101):
      `weight_decay * params` is added to the direction, and so is multiplied
      by the learning rate once.
    decay_paths: regular expressions; parameters whose path has a match decay.
      None means the matrices, see `is_matrix`.
    multipliers: factors of the direction, decay included, by regular
      expression over paths; where several match, they multiply. 0 freezes.
    offload: whether the state is kept in the host's memory, see `offload.py`.
      What is learned does not change. None: it is not.
  """

  clip: float | None = 1.0
  weight_decay: float = 0.1
  decay_paths: Sequence[str] | None = None
  multipliers: Mapping[str, float] = dataclasses.field(default_factory=dict)
  # None where others have False: runs begun before it was there go on.
  offload: bool | None = None

  def __post_init__(self):
    if self.clip is not None:
      check_number(self._key('clip'), self.clip, above=0)
    check_number(self._key('weight_decay'), self.weight_decay, least=0)
    if self.decay_paths is not None:
      key, paths = self._key('decay_paths'), self.decay_paths
      good = isinstance(paths, list | tuple)
      good = good and all(isinstance(path, str) for path in paths)
      require(good, key, paths, 'must be a list of regular expressions')
    key, multipliers = self._key('multipliers'), self.multipliers
    expected = 'must be a dict of regular expressions to factors'
    good = isinstance(multipliers, Mapping)
    good = good and all(isinstance(pattern, str) for pattern in multipliers)
    require(good, key, multipliers, expected)
    for pattern, factor in multipliers.items():
      check_number(f'{key}[{pattern!r}]', factor, least=0)

    good = isinstance(self.offload, bool | None)
    require(good, self._key('offload'), self.offload, 'must be a bool, or None')

  def _key(self, field: str) -> str:
    return f'{type(self).__name__}.{field}'

  @abc.abstractmethod
  def core(self, axes: Tree) -> optax.GradientTransformation:
    """Gradients to a direction, before decay."""

  def make(self, axes: Tree) -> optax.GradientTransformation:
    """The whole chain for parameters with these axes.

    Args:
      axes: the parameters' structure, each leaf a tuple of axis names.

    Returns:
      A transformation whose `update` needs the parameters.

    Raises:
      UserError: a regular expression matches no path.
    """
    clip = optax.identity()
    if self.clip is not None:
      clip = optax.clip_by_global_norm(self.clip)
    chain = optax.named_chain(
      ('clip', clip),
      ('direction', self.core(axes)),
      ('decay', _add_decay(self._decay_rates(axes))),
      ('multiply', _multiply(self._factors(axes))),
    )
    return offloaded(chain) if self.offload else chain

  def _decay_rates(self, axes: Tree) -> Tree:
    """Floats: the decay of each parameter."""
    if self.decay_paths is None:
      decays = jax.tree.map(is_matrix, axes, is_leaf=is_axes)
    else:
      decays = mask(axes, self.decay_paths, self._key('decay_paths'), is_axes)
    return jax.tree.map(lambda on: self.weight_decay * on, decays)

  def _factors(self, axes: Tree) -> Tree:
    """Floats: the product of the multipliers of each parameter."""
    factors = jax.tree.map(lambda _: 1.0, axes, is_leaf=is_axes)
    for pattern, factor in self.multipliers.items():
      matches = mask(axes, [pattern], self._key('multipliers'), is_axes)
      factors = jax.tree.map(
        lambda old, match, new=factor: old * new if match else old,
        factors,
        matches,
      )
    return factors


def _add_decay(rates: Tree) -> optax.GradientTransformation:
  def add(direction, params):
    return jax.tree.map(
      lambda rate, d, p: d + rate * p if rate else d, rates, direction, params
    )

  return optax.stateless(add)


def _multiply(factors: Tree) -> optax.GradientTransformation:
  def multiply(direction, params):
    del params
    return jax.tree.map(
      lambda factor, d: d if factor == 1 else factor * d, factors, direction
    )

  return optax.stateless(multiply)


def matrix_sides(axes: tuple[str, ...]) -> list[tuple[int, ...]]:
  """Dimensions of a parameter, grouped into the sides of what it multiplies.

  Stacked layers and experts are no side, and (heads, head_dim) are one: an
  attention query ('layers', 'embed', 'heads', 'head_dim') has the sides (1,)
  and (2, 3).
  """
  sides = []
  for index, name in enumerate(axes):
    after_heads = index > 0 and axes[index - 1] in _HEADS
    if name == shapes.HEAD_DIM and after_heads:
      sides[-1] += (index,)
    elif name not in (shapes.LAYERS, shapes.EXPERTS):
      sides.append((index,))
  return sides


def is_matrix(axes: tuple[str, ...]) -> bool:
  """Whether a parameter has two sides or more.

  Norm scales and biases have one, stacked or not, those of attention heads
  among them. A table of biases by distance is none.
  """
  return len(matrix_sides(axes)) >= 2 and shapes.BUCKETS not in axes
