"""The loss on held-out rows of each source."""

import functools
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from tpu_lm.sharding import batch_shardings
from tpu_lm.step import make_eval_step
from tpu_lm.tree import Tree


class SourceLoss:
  """Mean loss over fixed rows of each source, in nats a token.

  The same rows at every evaluation of every phase, so that differences
  between evaluations are the model's and not the sample's.

  Args:
    model: as in `make_eval_step`; hashable.
    objective: likewise.
    mesh: the jax mesh.
    batches: source name -> batches, all of one shape.
  """

  def __init__(
    self, model, objective, mesh, batches: Mapping[str, Sequence[dict]]
  ):
    self._step = _compiled(model, objective)
    self._batches = {
      name: [jax.device_put(b, batch_shardings(mesh, b)) for b in rows]
      for name, rows in batches.items()
    }

  def run(self, params: Tree) -> dict[str, float]:
    """{'validation/loss/SOURCE': nats a token}."""
    pending = {
      name: [self._step(params, batch)['loss'] for batch in batches]
      for name, batches in self._batches.items()
    }
    losses = {}
    for name, means in jax.device_get(pending).items():
      total = sum(np.float64(mean.total[0]) for mean in means)
      weight = sum(np.float64(mean.weight[0]) for mean in means)
      losses[f'validation/loss/{name}'] = float(total / weight)
    return losses


@functools.lru_cache(maxsize=8)
def _compiled(model, objective):
  """One program for all phases with the same model and objective."""
  return jax.jit(make_eval_step(model, objective))
