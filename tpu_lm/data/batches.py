"""Batches as a pure function of the phase step and the ledger."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from tpu_lm.checks import UserError, require
from tpu_lm.data.corpus import Corpus
from tpu_lm.data.layout import Layout
from tpu_lm.data.ledger import REPLAY, Ledger, row_key, split_key, tokens_of
from tpu_lm.data.mixing import Mixture
from tpu_lm.data.opened import (
  Sources,
  check_one_vocabulary,
  tasks_of,
)
from tpu_lm.data.replay import (
  ReplayRows,
  check_pool,
  find_pools,
  tokens_read,
)
from tpu_lm.data.row_reader import Rows
from tpu_lm.data.shares import Shares, source_of
from tpu_lm.data.supply import Supply

Batch = dict[str, np.ndarray]


class BatchBuilder:
  """Makes the batches of one phase.

  It keeps nothing between batches: the ledger that goes in and comes out is
  the whole state, so a builder made anew goes on where another stopped. Nor
  does it matter over how many processes a batch is spread: each builds its
  rows and writes down all.

  Attributes:
    names: every source that any step draws from, replays among them.
    series: (source, objective) of every kind of row; the batch's `source`
      counts into it. A source has several where its noise mixes objectives.
    vocabulary_size: of all its stores, special tokens in use included.
    rows_per_epoch: of each source, replays left aside.
  """

  def __init__(
    self,
    corpus: Corpus,
    mixture: Mixture,
    batch_size: int,
    layout: Layout,
    entry_ledger: Ledger,
    ancestors: Mapping[str, tuple[Ledger, Ledger]] | None = None,
    steps: int | None = None,
    own: np.ndarray | None = None,
  ):
    """Works out the shares and opens the stores.

    Args:
      corpus: where the stores are.
      mixture: the sources, their weights and the replay.
      batch_size: rows in a batch, of all processes together.
      layout: the shape of a row.
      entry_ledger: what the lineage had read when this phase began.
      ancestors: the ledgers at entry and end of each ancestor phase, for a
        replay of one of them.
      steps: the phase's length; for `foresee`, and for weights that depend
        on it.
      own: i64[R], ascending: the rows of a batch that this process needs;
        None: all.

    Raises:
      UserError: a source is unknown, too small, of another vocabulary than
        the others, or too rare ever to be drawn; its noise is for another kind
        of model; the replay finds nothing; a limit on epochs makes no sense.
    """
    good = type(batch_size) is int and batch_size > 0
    require(good, 'batch_size', batch_size, 'must be an integer >= 1')
    self._own = np.arange(batch_size) if own is None else own
    self._batch_size = batch_size
    self._steps = steps
    seed = entry_ledger.seed
    sources = Sources(corpus, mixture, layout, seed)
    replay, pools, replayed = mixture.replay, {}, {}
    if replay and replay.order == 'unseen':
      replayed = tokens_read(replay, entry_ledger, ancestors or {})
    elif replay:
      pools = find_pools(
        replay,
        entry_ledger,
        ancestors or {},
        lambda source: sources.rows(source).label,
      )
      replayed = {name: pool.size for name, pool in pools.items()}
    per_row = _tokens_per_row(corpus, mixture, layout, sources)
    self._shares = Shares(
      corpus, mixture, replayed, steps, batch_size * per_row
    )
    self.names = self._shares.names
    self._stores = {
      source: sources.store(source)
      for source in sorted({source_of(name) for name in self.names})
    }
    check_one_vocabulary(self._stores)
    rows: dict[str, Rows] = {n: sources.rows(n) for n in self._stores}
    self.vocabulary_size = max(r.vocabulary_size for r in rows.values())
    for name, pool in pools.items():
      check_pool(pool, self._stores[pool.source].fingerprint)
      rows[name] = ReplayRows(rows[pool.source], pool, replay.order, seed)
    self._readers = {name: rows[name] for name in self.names}
    self.series = tuple(
      (name, objective)
      for name, reader in self._readers.items()
      for objective in reader.objectives
    )
    self.rows_per_epoch = {
      name: reader.rows_per_epoch
      for name, reader in self._readers.items()
      if not name.startswith(REPLAY)
    }
    self._supply = Supply(mixture, self.rows_per_epoch)

  def next(self, phase_step: int, ledger: Ledger) -> tuple[Batch, Ledger]:
    """Builds the batch of a phase step.

    Args:
      phase_step: counted from 0 at the phase's entry.
      ledger: what was read before; the entry ledger at phase step 0.

    Returns:
      The rows of the batch that this process needs, R of them, by
      `shapes.BATCH_KEYS`, and the ledger after the whole batch.

    Raises:
      UserError: a store is not the one that this phase has read so far.
      Exhausted: a source was read as often as it may.
    """
    ledger = self._pinned(ledger) if phase_step == 0 else self._same(ledger)
    shares = self._shares.at(phase_step)
    chosen, debts = self._supply.choose(
      shares, ledger.debts, self._taken(ledger), self._batch_size, phase_step
    )
    batch: Batch = {}
    rows, read = dict(ledger.rows), dict(ledger.tokens)
    for index, name in enumerate(shares):
      ours = np.flatnonzero(chosen[self._own] == index)
      upto = np.cumsum(chosen == index)
      count = int(upto[-1])
      label = self._readers[name].label
      key = row_key(name, label)
      if ours.size:
        cursors = rows.get(key, 0) + upto[self._own[ours]] - 1
        found = self._readers[name].read(cursors)
        found['source'] = self._series_of(name, found, ours.size)
        _place(batch, found, ours, self._own.size)
      if count:
        rows[key] = rows.get(key, 0) + count
        read[name] = read.get(name, 0) + count * tokens_of(label)
    return batch, dataclasses.replace(
      ledger, rows=rows, debts=debts, tokens=read
    )

  def foresee(self, phase_step: int, ledger: Ledger) -> Ledger:
    """Works out what will have been read at the phase's end.

    Args:
      phase_step: the step to go on from, as of `next`.
      ledger: what was read before it.

    Returns:
      The ledger at the end, its rows right to within a row or two of each
      source and each change of weights, its debts left out.

    Raises:
      UserError: as `next`.
      Exhausted: a source will run out before. Without `Mixture.changes` and
        replays in it, never where it would just last.
    """
    assert self._steps is not None
    ledger = self._pinned(ledger) if phase_step == 0 else self._same(ledger)
    starts = [step for step in self._shares.starts if step > phase_step]
    stretches = [
      (start, stop, self._shares.at(start))
      for start, stop in zip([phase_step, *starts], [*starts, self._steps])
    ]
    before = self._taken(ledger)
    after = self._supply.foresee(
      stretches, ledger.debts, before, self._batch_size
    )
    rows, read = dict(ledger.rows), dict(ledger.tokens)
    for name, count in after.items():
      more = max(0, count - before.get(name, 0))
      if more:
        label = self._readers[name].label
        key = row_key(name, label)
        rows[key] = rows.get(key, 0) + more
        read[name] = read.get(name, 0) + more * tokens_of(label)
    return dataclasses.replace(ledger, rows=rows, debts={}, tokens=read)

  def _series_of(self, name: str, found: Batch, rows: int) -> np.ndarray:
    """The series of each row that was found, i32[rows]."""
    objective = found.pop('objective', np.zeros(rows, np.int64))
    first = self.series.index((name, self._readers[name].objectives[0]))
    return (first + objective).astype(np.int32)

  def _taken(self, ledger: Ledger) -> dict[str, int]:
    keys = {n: row_key(n, reader.label) for n, reader in self._readers.items()}
    return {name: ledger.rows.get(key, 0) for name, key in keys.items()}

  def _pinned(self, ledger: Ledger) -> Ledger:
    """Writes down this phase's stores.

    Data may have grown or changed since an earlier phase read them. Then no
    row of the new store has been read, and its cursors begin at 0.
    """
    new = {
      name
      for name, store in self._stores.items()
      if ledger.stores.get(name, store.fingerprint) != store.fingerprint
    }
    rows = {
      key: count
      for key, count in ledger.rows.items()
      if source_of(split_key(key)[0]) not in new
    }
    fingerprints = {name: s.fingerprint for name, s in self._stores.items()}
    return dataclasses.replace(
      ledger, rows=rows, stores={**ledger.stores, **fingerprints}
    )

  def _same(self, ledger: Ledger) -> Ledger:
    """Makes sure that the stores are those that this phase began with."""
    for name, store in self._stores.items():
      if ledger.stores.get(name) != store.fingerprint:
        raise UserError(
          f'{name}: its tokens have changed since this phase began (store'
          f' {ledger.stores.get(name)}, now {store.fingerprint}). Bring the'
          ' old data back, or start a new phase'
        )
    return ledger


def _tokens_per_row(
  corpus: Corpus, mixture: Mixture, layout: Layout, sources: Sources
) -> int:
  """Tokens of a row, for weights that are worked out from tokens."""
  every = (mixture.weights, *mixture.changes.values())
  if all(isinstance(weights, Mapping) for weights in every):
    return layout.length  # it decides nothing
  labels = {sources.rows(task).label for task in tasks_of(corpus, mixture)}
  counts = sorted({tokens_of(label) for label in labels})
  if len(counts) > 1:
    raise UserError(
      'Mixture.weights are worked out from numbers of tokens, but rows take'
      f' {" and ".join(map(str, counts))} of them by the noise of their source:'
      ' give the sources weights of their own'
    )
  return counts[0]


def _place(batch: Batch, found: Batch, places: np.ndarray, rows: int) -> None:
  """Puts rows that were found at their places in a batch."""
  for key, value in found.items():
    if key not in batch:
      batch[key] = np.empty((rows, *value.shape[1:]), value.dtype)
    batch[key][places] = value
