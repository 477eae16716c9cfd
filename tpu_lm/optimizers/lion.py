"""Lion."""

import dataclasses

import optax

from tpu_lm.checks import check_number
from tpu_lm.optimizers.common import Optimizer
from tpu_lm.tree import Tree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lion(Optimizer):
  """The sign of a momentum (Chen et al. 2023, arXiv 2302.06675, algorithm 2).

  Its authors use a learning rate 3 to 10 times smaller than AdamW's and a
  weight decay as many times larger.

  Attributes:
    b1: share of the momentum in the direction.
    b2: decay rate of the momentum.
  """

  b1: float = 0.9
  b2: float = 0.99

  def __post_init__(self):
    super().__post_init__()
    check_number(self._key('b1'), self.b1, least=0, below=1)
    check_number(self._key('b2'), self.b2, least=0, below=1)

  def core(self, axes: Tree) -> optax.GradientTransformation:
    """See `Optimizer`."""
    del axes
    return optax.scale_by_lion(self.b1, self.b2)
