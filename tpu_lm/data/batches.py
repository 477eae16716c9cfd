"""Batches as a pure function of the phase step and the ledger."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from tpu_lm.checks import UserError, require
from tpu_lm.data import packing
from tpu_lm.data.corpus import Corpus
from tpu_lm.data.ledger import REPLAY, Ledger, row_key
from tpu_lm.data.mixing import Mixture, choose
from tpu_lm.data.replay import Pool, ReplayRows, find_pools, tokens_read
from tpu_lm.data.rows import Rows
from tpu_lm.data.shares import Shares, source_of
from tpu_lm.data.store import TokenStore

Batch = dict[str, np.ndarray]


class BatchBuilder:
  """Makes the batches of one phase.

  It keeps nothing between batches: the ledger that goes in and comes out is
  the whole state, so a builder made anew goes on where another stopped.

  Attributes:
    names: every source that any step draws from, replays among them; the
      batch's `source` counts into it.
    vocabulary_size: of all its stores.
  """

  def __init__(
    self,
    corpus: Corpus,
    mixture: Mixture,
    batch_size: int,
    sequence_length: int,
    entry_ledger: Ledger,
    mask_documents: bool = True,
    ancestors: Mapping[str, tuple[Ledger, Ledger]] | None = None,
  ):
    """Works out the shares and opens the stores.

    Args:
      corpus: where the stores are.
      mixture: the sources, their weights and the replay.
      batch_size: rows in a batch.
      sequence_length: tokens predicted in a row.
      entry_ledger: what the lineage had read when this phase began.
      mask_documents: whether attention and loss stop at documents' ends.
      ancestors: the ledgers at entry and end of each ancestor phase, for a
        replay of one of them.

    Raises:
      UserError: a source is unknown, too small, of another vocabulary than
        the others, or too rare ever to be drawn; or the replay finds nothing.
    """
    _check_sizes(batch_size=batch_size, sequence_length=sequence_length)
    self._batch_size = batch_size
    self._length = sequence_length
    self._mask_documents = mask_documents
    replay, pools, replayed = mixture.replay, {}, {}
    if replay and replay.order == 'unseen':
      replayed = tokens_read(replay, entry_ledger, ancestors or {})
    elif replay:
      pools = find_pools(replay, entry_ledger, ancestors or {}, sequence_length)
      replayed = {name: pool.size for name, pool in pools.items()}
    self._shares = Shares(corpus, mixture, replayed)
    self.names = self._shares.names
    self._stores = {
      source: corpus.open(source, 'train')
      for source in sorted({source_of(name) for name in self.names})
    }
    self.vocabulary_size = _one_vocabulary(self._stores)
    self._readers = {}
    for name in self.names:
      source, seed = source_of(name), entry_ledger.seed
      store = self._stores[source]
      reader = Rows(store, sequence_length, seed, source)
      if name.startswith(REPLAY):
        _check_pool(pools[name], store)
        reader = ReplayRows(reader, pools[name], replay.order, seed)
      self._readers[name] = reader

  def next(self, phase_step: int, ledger: Ledger) -> tuple[Batch, Ledger]:
    """Builds the batch of a phase step.

    Args:
      phase_step: counted from 0 at the phase's entry.
      ledger: what was read before; the entry ledger at phase step 0.

    Returns:
      The batch (inputs, targets, segments, positions i32[B, S], weights
      f32[B, S], source i32[B]), and the ledger after it.

    Raises:
      UserError: a store is not the one that this phase has read so far.
    """
    ledger = self._pinned(ledger) if phase_step == 0 else self._same(ledger)
    shares = self._shares.at(phase_step)
    chosen, debts = choose(shares, ledger.debts, self._batch_size)
    tokens = np.empty((self._batch_size, self._length + 1), np.int32)
    documents = np.empty(tokens.shape, np.int64)
    source = np.empty(self._batch_size, np.int32)
    rows, read = dict(ledger.rows), dict(ledger.tokens)
    for index, name in enumerate(shares):
      places = np.flatnonzero(chosen == index)
      if not places.size:
        continue
      key = row_key(name, self._length)
      cursors = rows.get(key, 0) + np.arange(places.size)
      tokens[places], documents[places] = self._readers[name].read(cursors)
      source[places] = self.names.index(name)
      rows[key] = rows.get(key, 0) + places.size
      read[name] = read.get(name, 0) + places.size * self._length
    batch = packing.causal(tokens, documents, self._mask_documents)
    return {**batch, 'source': source}, dataclasses.replace(
      ledger, rows=rows, debts=debts, tokens=read
    )

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
      if source_of(key.rsplit('@', 1)[0]) not in new
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


def validation_batches(
  corpus: Corpus,
  task: str,
  rows: int,
  batch_size: int,
  sequence_length: int,
  mask_documents: bool = True,
) -> list[Batch]:
  """Builds the batches that a source is evaluated on.

  The rows are the same in every run, whatever its seed: the first ones of the
  validation split in a fixed random order.

  Args:
    corpus: where the store is.
    task: the source's name.
    rows: how many rows; of a smaller split all are taken.
    batch_size: rows in a batch; the last one is filled up with rows of weight
      0 and segment 0.
    sequence_length: tokens predicted in a row.
    mask_documents: whether attention and loss stop at documents' ends.

  Returns:
    Batches as of `BatchBuilder.next`, with source 0.

  Raises:
    UserError: the split has not tokens enough for one row.
  """
  _check_sizes(
    rows=rows, batch_size=batch_size, sequence_length=sequence_length
  )
  store = corpus.open(task, 'validation')
  reader = Rows(store, sequence_length, 0, task)
  cursors = np.arange(min(rows, reader.rows_per_epoch))
  batches = []
  for start in range(0, len(cursors), batch_size):
    tokens, documents = reader.read(cursors[start : start + batch_size])
    batch = packing.causal(tokens, documents, mask_documents)
    batch['source'] = np.zeros(len(tokens), np.int32)
    batches.append(packing.pad_rows(batch, batch_size))
  return batches


def _check_sizes(**sizes: int) -> None:
  for key, value in sizes.items():
    require(
      type(value) is int and value > 0, key, value, 'must be an integer >= 1'
    )


def _check_pool(pool: Pool, store: TokenStore) -> None:
  if pool.fingerprint != store.fingerprint:
    raise UserError(
      f'Replay: the tokens of {pool.source} have changed since they were read'
      f' (store {pool.fingerprint}, now {store.fingerprint}), so those rows'
      " are gone. Bring the old data back, or set Replay.order = 'unseen', or"
      ' leave the source out of Replay.sources'
    )


def _one_vocabulary(stores: Mapping[str, TokenStore]) -> int:
  """The vocabulary size of all stores, which must agree in what tokens mean."""
  first, *others = stores
  one = stores[first].manifest
  for name in others:
    other = stores[name].manifest
    if (one.vocabulary, one.vocabulary_size) != (
      other.vocabulary,
      other.vocabulary_size,
    ):
      raise UserError(
        f'{first} and {name} have different vocabularies and cannot be mixed:'
        f' {one.vocabulary_size} tokens {one.vocabulary},'
        f' {other.vocabulary_size} tokens {other.vocabulary}'
      )
  return one.vocabulary_size
