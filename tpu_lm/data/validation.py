"""The held-out rows that a source is evaluated on."""

import numpy as np

from tpu_lm.checks import UserError
from tpu_lm.data import packing
from tpu_lm.data.batches import Batch
from tpu_lm.data.corpus import Corpus
from tpu_lm.data.layout import Layout
from tpu_lm.data.mixing import Mixture
from tpu_lm.data.rows import open_rows


def validation_batches(
  corpus: Corpus,
  task: str,
  rows: int,
  batch_size: int,
  layout: Layout,
  mixture: Mixture | None = None,
) -> tuple[list[Batch], tuple[str, ...]]:
  """Builds the batches that a source is evaluated on.

  The rows are the same in every run, whatever its seed: the first ones of the
  validation split in a fixed random order.

  Args:
    corpus: where the store is.
    task: the source's name.
    rows: how many rows; of a smaller split all are taken.
    batch_size: rows in a batch; the last one is filled up with rows of weight
      0 and segment 0.
    layout: the shape of a row.
    mixture: says what becomes of the text; None: what is usual for models of
      the layout's kind. The noise is the same in every run, too.

  Returns:
    Batches as of `BatchBuilder.next`, and the names of the objectives of their
    rows, which `source` counts.

  Raises:
    UserError: the split has not tokens enough for one row, or none of the
      tokens is predicted with loss.
  """
  store = corpus.open(task, 'validation')
  noiser = mixture and mixture.noise_of(task, store.manifest.whole)
  reader = open_rows(store, layout, 0, task, noiser, corpus.special_tokens)
  cursors = np.arange(min(rows, reader.rows_per_epoch))
  batches = []
  for start in range(0, len(cursors), batch_size):
    batch = reader.read(cursors[start : start + batch_size])
    objective = batch.pop('objective', np.zeros(len(batch['inputs'])))
    batch['source'] = objective.astype(np.int32)
    batches.append(packing.pad_rows(batch, batch_size))
  if not any(batch['weights'].any() for batch in batches):
    raise UserError(
      f'{task} (validation): no token of the {len(cursors)} rows that it would'
      ' be evaluated on carries loss, so there is nothing to measure'
    )
  return batches, reader.objectives
