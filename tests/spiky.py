"""Runs in which some rows make the loss bad."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from tests import tiny
from tests.data.helpers import tiny_corpus
from tpu_lm.data.layout import Layout
from tpu_lm.data.rows import open_rows
from tpu_lm.evaluate import Evaluate
from tpu_lm.objectives.cross_entropy import CrossEntropy


@dataclasses.dataclass(frozen=True)
class Spiky:
  """Cross-entropy, times a factor where a batch has one of some rows.

  Attributes:
    rows: tokens of the rows.
    factor: of the loss, and so of the gradient; as text, since nan is never
      the same as before.
  """

  rows: tuple[tuple[int, ...], ...]
  factor: str

  def __call__(self, forward, batch, rng):
    loss, metrics, out = CrossEntropy()(forward, batch, rng)
    same = batch['inputs'][:, None] == jnp.asarray(self.rows)
    hit = jnp.any(jnp.all(same, axis=-1))
    factor = jnp.where(hit, float(self.factor), 1.0)
    mean = metrics['loss']
    metrics['loss'] = mean._replace(total=mean.total * factor)
    return loss * factor, metrics, out


def run(stores, guard, cursors, factor='50', child=False, **fields):
  """A phase of 24 steps of 4 rows.

  Args:
    stores: where the stores are, or will be.
    guard: of the first phase.
    cursors: rows of the source that are bad.
    factor: of their loss; as text.
    child: whether another follows that replays it.
    **fields: of the first phase.
  """
  random = np.random.default_rng(0)  # no two rows alike
  texts = {
    name: [
      bytes(random.integers(97, 123, 80).tolist()).decode() for _ in range(200)
    ]
    for name in ('letters', 'code')
  }
  tree = tiny.tree_run(
    stores, steps=24, corpus=tiny_corpus(stores / 'random', texts)
  )
  base, _, after = tree.phases
  layout = Layout.of(base, tree.model)
  store = tree.corpus.open('letters', 'train')
  rows = open_rows(store, layout, tree.seed, 'letters', None, None)
  tokens = rows.read(np.asarray(cursors))['inputs']
  found = tuple(tuple(map(int, row)) for row in tokens)
  base = dataclasses.replace(
    base,
    objective=Spiky(found, factor),
    guard=guard,
    evaluate=Evaluate(every=12, dense_every=12, dense_until=12, rows=8),
    **fields,
  )
  phases = (base, dataclasses.replace(after, length=8))
  return dataclasses.replace(tree, phases=phases[: 1 + child])
