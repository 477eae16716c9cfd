"""The loss on held-out rows of each source."""

import functools
from collections.abc import Sequence

import jax
import numpy as np

from tpu_lm.data.validation import validation_batches
from tpu_lm.sharding import batch_shardings
from tpu_lm.step import make_eval_step
from tpu_lm.tree import Tree


class SourceLoss:
  """Mean loss over fixed rows of each source, in nats a token.

  The same rows at every evaluation of every phase with the same sequence
  length and number of rows, whatever the seed, so that differences between
  evaluations are the model's and not the sample's.

  Args:
    run: gives the model and the corpus.
    phase: gives the objective and the shape of a batch.
    mesh: the jax mesh.
    sources: names of tasks.
  """

  def __init__(self, run, phase, mesh, sources: Sequence[str]):
    self._step = _compiled(run.model, phase.objective)
    self._batches = {}
    for source in sources:
      batches = validation_batches(
        run.corpus,
        source,
        phase.evaluate.rows,
        phase.batch_size,
        phase.sequence_length,
        mask_documents=phase.mask_documents,
      )
      self._batches[source] = [
        jax.device_put(batch, batch_shardings(mesh, batch)) for batch in batches
      ]

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
