"""Muon."""

import dataclasses
import math

import jax
import optax
from optax import contrib

from tpu_lm import shapes
from tpu_lm.checks import check_number, require
from tpu_lm.optimizers.adam import scale_by_adam
from tpu_lm.optimizers.common import Optimizer, matrix_sides
from tpu_lm.tree import Tree, is_axes, map_named

# What has one of these is looked up row by row; it is no linear map.
TABLES = (shapes.VOCAB, shapes.POSITIONS, shapes.BUCKETS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Muon(Optimizer):
  """Orthogonalised momentum for matrices, Adam for everything else.

  A matrix's Nesterov momentum is brought near the closest orthogonal matrix
  by Newton-Schulz iterations (Jordan 2024, github.com/KellerJordan/Muon) and
  scaled by `rms * sqrt(max(rows, columns))`, which gives the direction the
  root mean square `rms` whatever the shape (Liu et al. 2025, arXiv 2502.16982,
  eq. 4); at 0.2 that is about AdamW's, so that one learning rate serves both.
  Each layer of a stack is a matrix, or each expert of a layer; (heads,
  head_dim) are one side of one.

  Embeddings, output heads and tables of positions (whatever has an axis of
  `TABLES`), norm scales and biases take Adam's direction.

  Attributes:
    beta: decay rate of the momentum.
    iterations: of Newton-Schulz.
    rms: see above.
    b1: Adam's decay rate of the first moment.
    b2: Adam's decay rate of the second moment.
    eps: Adam's, added to the root of the second moment.
  """

  beta: float = 0.95
  iterations: int = 5
  rms: float = 0.2
  b1: float = 0.9
  b2: float = 0.95
  eps: float = 1e-8

  def __post_init__(self):
    super().__post_init__()
    for field in ('beta', 'b1', 'b2'):
      check_number(self._key(field), getattr(self, field), least=0, below=1)
    check_number(self._key('rms'), self.rms, above=0)
    check_number(self._key('eps'), self.eps, above=0)
    good = type(self.iterations) is int and self.iterations > 0
    expected = 'must be a positive int'
    require(good, self._key('iterations'), self.iterations, expected)

  def core(self, axes: Tree) -> optax.GradientTransformation:
    """See `Optimizer`.

    Raises:
      UserError: a parameter has more than two sides, so that it is not clear
        which matrix it is.
    """
    matrices = map_named(_matrix_dimensions, axes, is_leaf=is_axes)
    labels = jax.tree.map(
      lambda _, m: 'adam' if isinstance(m, optax.MaskedNode) else 'muon',
      axes,
      matrices,
      is_leaf=is_axes,
    )
    muon = contrib.scale_by_muon(
      beta=self.beta,
      ns_steps=self.iterations,
      weight_dimension_numbers=matrices,
    )

    def scale(direction, params):
      del params
      return jax.tree.map(
        lambda d, sides: d * (self.rms * math.sqrt(_longest_side(d, sides))),
        direction,
        matrices,
      )

    return optax.partition(
      {
        'muon': optax.chain(muon, optax.stateless(scale)),
        'adam': scale_by_adam(self.b1, self.b2, self.eps),
      },
      labels,
    )


def _matrix_dimensions(
  path: str, axes: tuple[str, ...]
) -> contrib.MuonDimensionNumbers | optax.MaskedNode:
  """Rows and columns, or what optax hides from one part of a partition."""
  sides = matrix_sides(axes)
  if len(sides) < 2 or set(TABLES) & set(axes):
    return optax.MaskedNode()
  expected = 'has more than two sides, so it is not clear which matrix it is'
  require(len(sides) == 2, f'Muon: {path}', axes, expected)
  return contrib.MuonDimensionNumbers(*sides)


def _longest_side(
  matrix: jax.Array, dimensions: contrib.MuonDimensionNumbers
) -> int:
  rows, columns = dimensions
  return max(
    math.prod(matrix.shape[i] for i in rows),
    math.prod(matrix.shape[i] for i in columns),
  )
