"""The loss on held-out rows of each source."""

import functools
from collections import Counter
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import PartitionSpec

from tpu_lm.data.layout import Layout
from tpu_lm.data.opened import settled
from tpu_lm.data.validation import validation_batches
from tpu_lm.feeding import Feed
from tpu_lm.processes import launched_together
from tpu_lm.step import make_eval_step
from tpu_lm.tree import Tree


class SourceLoss:
  """Mean loss over fixed rows of each source, in nats a token.

  The same rows at every evaluation of every phase with the same sequence
  length, noise and number of rows, whatever the seed, so that differences
  between evaluations are the model's and not the sample's. A child with other
  noise than its parent's is evaluated on its own, its entry included.

  Args:
    run: gives the model and the corpus.
    phase: gives the objective and the shape of a batch.
    mesh: the jax mesh.
    sources: names of tasks.
  """

  def __init__(self, run, phase, mesh, sources: Sequence[str]):
    layout = Layout.of(phase, run.model)
    layout = settled(run.corpus, phase.mixture, layout)
    feed = Feed(mesh, phase.batch_size)
    self._steps, self._batches, self._objectives = {}, {}, {}
    for source in sources:
      batches, objectives = validation_batches(
        run.corpus,
        source,
        phase.evaluate.rows,
        phase.batch_size,
        layout,
        phase.mixture,
      )
      self._objectives[source] = objectives
      self._steps[source] = _compiled(
        run.model, phase.objective, len(objectives)
      )
      self._batches[source] = [
        feed.place({key: rows[feed.own] for key, rows in batch.items()})
        for batch in batches
      ]

  def run(self, params: Tree) -> dict[str, float]:
    """The losses, in nats a token.

    Returns:
      'validation/loss/SOURCE' of each source; and, where the rows are of
      several objectives, 'validation/objective/NAME' of each, over all sources.
    """
    pending = {
      name: [self._steps[name](params, batch)['loss'] for batch in batches]
      for name, batches in self._batches.items()
    }
    losses, totals, weights = {}, Counter(), Counter()
    for name, means in jax.device_get(pending).items():
      total = sum(np.float64(mean.total) for mean in means)
      weight = sum(np.float64(mean.weight) for mean in means)
      losses[f'validation/loss/{name}'] = float(total.sum() / weight.sum())
      for objective, *own in zip(self._objectives[name], total, weight):
        totals[objective] += own[0]
        weights[objective] += own[1]
    if len(totals) > 1:
      losses |= {
        f'validation/objective/{name}': float(totals[name] / weights[name])
        for name in totals
        if weights[name]
      }
    return losses


@functools.lru_cache(maxsize=8)
def _compiled(model, objective, series: int):
  """One program for all phases with the same model and objective."""
  step = make_eval_step(model, objective, series)
  program = jax.jit(step, out_shardings=PartitionSpec())  # to all processes
  return launched_together(program)
