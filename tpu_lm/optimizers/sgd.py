"""Stochastic gradient descent."""

import dataclasses

import optax

from tpu_lm.checks import check_number, require
from tpu_lm.optimizers.common import Optimizer
from tpu_lm.tree import Tree


@dataclasses.dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
  """Gradients, or a sum of them that fades (Sutskever et al. 2013).

  With momentum m the direction is trace <- gradient + m trace, or gradient +
  m trace with Nesterov's look ahead. The trace is a sum, not a mean: at
  m = 0.9 it comes to ten times the gradient.

  Attributes:
    momentum: in [0, 1).
    nesterov: whether to look ahead.
  """

  weight_decay: float = 0.0
  momentum: float = 0.9
  nesterov: bool = False

  def __post_init__(self):
    super().__post_init__()
    check_number(self._key('momentum'), self.momentum, least=0, below=1)
    good = isinstance(self.nesterov, bool)
    require(good, 'SGD.nesterov', self.nesterov, 'must be True or False')
    good = self.momentum > 0 or not self.nesterov
    require(good, 'SGD.nesterov', self.nesterov, 'is not used without momentum')

  def core(self, axes: Tree) -> optax.GradientTransformation:
    """See `Optimizer`."""
    del axes
    if not self.momentum:
      return optax.identity()
    return optax.trace(self.momentum, self.nesterov)
