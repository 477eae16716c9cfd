"""Adafactor."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from tpu_lm import shapes
from tpu_lm.checks import check_number, require
from tpu_lm.optimizers.common import Optimizer
from tpu_lm.tree import Tree, is_axes

_SMALLEST_SCALE = 1e-3  # epsilon_2 of the paper


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adafactor(Optimizer):
  """Second moments by row and column (Shazeer and Stern 2018, 1804.04235).

  Algorithm 4 without momentum: the direction is clipped to a root mean square
  of `threshold` in each parameter and multiplied by the parameter's own, so a
  learning rate is a relative step. Where the paper speaks of a parameter, a
  stack of layers is taken as that many parameters.

  Attributes:
    decay_rate: the second moment's decay rate at update t is
      1 - t^-decay_rate.
    threshold: see above.
    relative: whether to multiply by the parameter's root mean square.
    factor_from: parameters are factored whose second largest dimension is at
      least this.
  """

  weight_decay: float = 0.0
  decay_rate: float = 0.8
  threshold: float = 1.0
  relative: bool = True
  factor_from: int = 128

  def __post_init__(self):
    super().__post_init__()
    check_number(self._key('decay_rate'), self.decay_rate, above=0)
    check_number(self._key('threshold'), self.threshold, above=0)
    good = isinstance(self.relative, bool)
    require(good, self._key('relative'), self.relative, 'must be True or False')
    good = type(self.factor_from) is int and self.factor_from > 0
    expected = 'must be a positive int'
    require(good, self._key('factor_from'), self.factor_from, expected)

  def core(self, axes: Tree) -> optax.GradientTransformation:
    """See `Optimizer`."""
    parts = [
      optax.scale_by_factored_rms(
        decay_rate=self.decay_rate, min_dim_size_to_factor=self.factor_from
      ),
      optax.stateless(lambda direction, _: self._clip(axes, direction)),
    ]
    if self.relative:
      parts.append(optax.stateless(lambda *trees: _relative(axes, *trees)))
    return optax.chain(*parts)

  def _clip(self, axes: Tree, direction: Tree) -> Tree:
    def clip(names, d):
      return d / jnp.maximum(1.0, _rms(names, d) / self.threshold)

    return jax.tree.map(clip, axes, direction, is_leaf=is_axes)


def _relative(axes: Tree, direction: Tree, params: Tree) -> Tree:
  def scale(names, d, p):
    return d * jnp.maximum(_SMALLEST_SCALE, _rms(names, p))

  return jax.tree.map(scale, axes, direction, params, is_leaf=is_axes)


def _rms(names: tuple[str, ...], x: jax.Array) -> jax.Array:
  """Root mean square of each layer, in dimensions that broadcast with x."""
  within = tuple(i for i, name in enumerate(names) if name != shapes.LAYERS)
  return jnp.sqrt(jnp.mean(jnp.square(x), axis=within, keepdims=True))
