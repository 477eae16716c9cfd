"""AdamW."""

import dataclasses

import optax

from tpu_lm.checks import check_number
from tpu_lm.optimizers.adam import scale_by_adam
from tpu_lm.optimizers.common import Optimizer
from tpu_lm.tree import Tree


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamW(Optimizer):
  """Adam with decoupled weight decay (arXiv 1711.05101, algorithm 2).

  The defaults are those usual for language models.

  Attributes:
    b1: decay rate of the first moment.
    b2: decay rate of the second moment.
    eps: added to the root of the second moment.
  """

  b1: float = 0.9
  b2: float = 0.95
  eps: float = 1e-8

  def __post_init__(self):
    super().__post_init__()
    check_number(self._key('b1'), self.b1, least=0, below=1)
    check_number(self._key('b2'), self.b2, least=0, below=1)
    check_number(self._key('eps'), self.eps, above=0)

  def core(self, axes: Tree) -> optax.GradientTransformation:
    """See `Optimizer`."""
    del axes
    return scale_by_adam(self.b1, self.b2, self.eps)
