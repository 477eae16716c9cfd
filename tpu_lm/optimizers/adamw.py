"""AdamW."""

import dataclasses

import optax

from tpu_lm.checks import check_number, require
from tpu_lm.optimizers.adam import scale_by_adam
from tpu_lm.optimizers.common import Optimizer
from tpu_lm.tree import Tree

DTYPES = ('float32', 'bfloat16')


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamW(Optimizer):
  """Adam with decoupled weight decay (arXiv 1711.05101, algorithm 2).

  The defaults are those usual for language models.

  Attributes:
    b1: decay rate of the first moment.
    b2: decay rate of the second moment.
    eps: added to the root of the second moment.
    first_moment: dtype that it is kept in, float32 or bfloat16 (half of the
      memory; what is added to it is rounded to three digits).
    second_moment: likewise. In bfloat16 b2 may be at most 0.99: what a step
      adds to a larger memory would be lost in rounding.
  """

  b1: float = 0.9
  b2: float = 0.95
  eps: float = 1e-8
  first_moment: str = 'float32'
  second_moment: str = 'float32'

  def __post_init__(self):
    super().__post_init__()
    check_number(self._key('b1'), self.b1, least=0, below=1)
    check_number(self._key('b2'), self.b2, least=0, below=1)
    check_number(self._key('eps'), self.eps, above=0)
    for field in ('first_moment', 'second_moment'):
      value = getattr(self, field)
      must = f'must be one of {", ".join(DTYPES)}'
      require(value in DTYPES, self._key(field), value, must)
    if self.second_moment == 'bfloat16':
      check_number(self._key('b2'), self.b2, most=0.99)

  def core(self, axes: Tree) -> optax.GradientTransformation:
    """See `Optimizer`."""
    del axes
    dtypes = self.first_moment, self.second_moment
    return scale_by_adam(self.b1, self.b2, self.eps, *dtypes)
