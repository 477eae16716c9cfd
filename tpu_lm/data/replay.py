"""Replay: rows that the lineage has read already, as a source of a mixture."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from tpu_lm.checks import UserError, nearest, require
from tpu_lm.data.apportion import apportion
from tpu_lm.data.ledger import (
  REPLAY,
  Ledger,
  row_key,
  split_key,
  tokens_of,
)
from tpu_lm.data.permutation import reshuffle
from tpu_lm.data.pool import Pool, kept_rows
from tpu_lm.data.row_reader import Rows

ORDERS = ('seen', 'reshuffled', 'unseen', 'fixed')


@dataclasses.dataclass(frozen=True)
class Replay:
  """A share of every batch that comes from what was read before.

  Rows that were skipped (`guard.Guard`) are not replayed.

  It costs no extra compute: the other sources shrink by the same. Within it,
  sources are in proportion to the rows read of them. What a replay reads is
  counted as `replay:SOURCE` and never replayed itself.

  Orders:
    seen: as they were read, over and over.
    reshuffled: the same rows, each time in a new order.
    unseen: the source itself goes on where it stopped, so that rows not read
      yet come first. At a new sequence length its rows begin anew.
    fixed: the first `rows` rows only, over and over.

  Attributes:
    fraction: share of the rows, in (0, 1].
    order: one of the orders.
    phase: only what this ancestor phase read; None for all of the lineage.
    sources: only these; None for all that were read.
    rows: for 'fixed', how many rows in all, shared out over the sources.
  """

  fraction: float
  order: str = 'seen'
  phase: str | None = None
  sources: tuple[str, ...] | None = None
  rows: int | None = None

  def __post_init__(self):
    require(
      type(self.fraction) in (int, float) and 0 < self.fraction <= 1,
      'Replay.fraction',
      self.fraction,
      'must be in (0, 1]',
    )
    require(
      self.order in ORDERS,
      'Replay.order',
      self.order,
      f'must be one of {", ".join(ORDERS)}',
    )
    require(
      self.phase is None or isinstance(self.phase, str),
      'Replay.phase',
      self.phase,
      'must be the name of an ancestor phase',
    )
    require(
      self.sources is None
      or (
        isinstance(self.sources, tuple | list)
        and len(self.sources) > 0
        and all(isinstance(name, str) for name in self.sources)
      ),
      'Replay.sources',
      self.sources,
      'must be names of sources',
    )
    if self.order == 'fixed':
      require(
        type(self.rows) is int and self.rows > 0,
        'Replay.rows',
        self.rows,
        "must be an integer >= 1 with order 'fixed'",
      )
    else:
      require(
        self.rows is None, 'Replay.rows', self.rows, "is for order 'fixed' only"
      )


class ReplayRows:
  """Reads a pool of a source's rows by the replay's own cursor.

  Attributes:
    rows_per_epoch: rows in the pool.
    label: of the source's rows, see `row_reader.Rows`.
    vocabulary_size: likewise.
    objectives: likewise.
  """

  def __init__(self, rows: Rows, pool: Pool, order: str, seed: int):
    """Replays `pool`, a part of `rows`, in an order but 'unseen'."""
    self.rows_per_epoch = pool.size
    self.label = rows.label
    self.vocabulary_size = rows.vocabulary_size
    self.objectives = rows.objectives
    self._rows = rows
    self._pool = pool
    self._order = order
    self._key = (seed, REPLAY + pool.source)

  def read(self, cursors: np.ndarray) -> dict[str, np.ndarray]:
    """Reads rows by number, as `Rows.read` does; i64[n], counted from 0."""
    if self._order == 'reshuffled':
      places = reshuffle(cursors, self._pool.size, *self._key)
    else:
      places = np.asarray(cursors, np.int64) % self._pool.size
    return self._rows.read(self._pool.cursors(places))


def tokens_read(
  replay: Replay,
  entry: Ledger,
  ancestors: Mapping[str, tuple[Ledger, Ledger]],
) -> dict[str, int]:
  """Tokens that the rows in question have, by source, at any length.

  Args:
    replay: says which rows.
    entry: the ledger at the phase's entry.
    ancestors: the ledgers at entry and end of each ancestor phase.

  Returns:
    Source to tokens, all positive.

  Raises:
    UserError: there are none, or a phase or source is unknown.
  """
  begin, end = _span(replay, entry, ancestors)
  counts: dict[str, int] = {}
  for key, stop in end.rows.items():
    source, label = split_key(key)
    if source.startswith(REPLAY):
      continue
    stretches = kept_rows(key, _start(source, key, begin, end), stop, end)
    rows = sum(stop - start for start, stop in stretches)
    if rows:
      counts[source] = counts.get(source, 0) + rows * tokens_of(label)
  if not counts:
    raise UserError(
      'Replay: there is nothing to replay: '
      + (f'phase {replay.phase!r}' if replay.phase else 'the lineage')
      + ' has read no rows'
    )
  for source in replay.sources or ():
    if source not in counts:
      raise UserError(
        f'Replay.sources: {source!r} has not been read.'
        + nearest(source, counts)
      )
  return {n: c for n, c in counts.items() if n in (replay.sources or counts)}


def find_pools(
  replay: Replay,
  entry: Ledger,
  ancestors: Mapping[str, tuple[Ledger, Ledger]],
  label_of: Callable[[str], str],
) -> dict[str, Pool]:
  """The rows to replay, for every order but 'unseen'.

  Args:
    replay: says which rows.
    entry: the ledger at the phase's entry.
    ancestors: the ledgers at entry and end of each ancestor phase.
    label_of: a source's name to the label of its rows in this phase.

  Returns:
    'replay:SOURCE' to its pool, none of them empty.

  Raises:
    UserError: as `tokens_read`, or rows of another length were read.
  """
  begin, end = _span(replay, entry, ancestors)
  pools = []
  for source in sorted(tokens_read(replay, entry, ancestors)):
    key = row_key(source, label_of(source))
    start, stop = _start(source, key, begin, end), end.rows.get(key, 0)
    stretches = kept_rows(key, start, stop, end)
    if not stretches:
      raise UserError(_other_length(source, end, label_of(source)))
    pools.append(Pool(source, stretches, end.stores[source]))
  if replay.order == 'fixed':
    pools = _first(pools, replay.rows)
  return {REPLAY + pool.source: pool for pool in pools}


def check_pool(pool: Pool, fingerprint: str) -> None:
  """Raises `UserError` unless a store is still the one a pool was read from."""
  if pool.fingerprint != fingerprint:
    raise UserError(
      f'Replay: the tokens of {pool.source} have changed since they were read'
      f' (store {pool.fingerprint}, now {fingerprint}), so those rows are gone.'
      " Bring the old data back, or set Replay.order = 'unseen', or leave the"
      ' source out of Replay.sources'
    )


def _span(
  replay: Replay,
  entry: Ledger,
  ancestors: Mapping[str, tuple[Ledger, Ledger]],
) -> tuple[Ledger, Ledger]:
  if replay.phase is None:
    return Ledger(), entry
  if replay.phase not in ancestors:
    raise UserError(
      f'Replay.phase = {replay.phase!r}: no ancestor of this phase.'
      + nearest(replay.phase, ancestors)
    )
  return ancestors[replay.phase]


def _start(source: str, key: str, begin: Ledger, end: Ledger) -> int:
  # With a new store a source's rows are counted from 0 again.
  same_store = begin.stores.get(source) == end.stores.get(source)
  return begin.rows.get(key, 0) if same_store else 0


def _first(pools: list[Pool], rows: int) -> list[Pool]:
  sizes = {pool.source: pool.size for pool in pools}
  wanted = apportion(sizes, min(rows, sum(sizes.values())))
  return [
    pool.first(wanted[pool.source]) for pool in pools if wanted[pool.source]
  ]


def _other_length(source: str, ledger: Ledger, wanted: str) -> str:
  keys = map(split_key, ledger.rows)
  labels = sorted((own for name, own in keys if name == source), key=tokens_of)
  return (
    f'Replay: {source} was read at sequence length'
    f' {" and ".join(labels)}, not {wanted} (under noise: in rows of so many'
    ' tokens of text), and its rows exist at that length only. Keep'
    ' Phase.sequence_length, target_length and the noise, or set'
    " Replay.order = 'unseen' to read its text at the new one"
  )
