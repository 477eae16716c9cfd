"""Rows of whole examples: row `cursor` is a pure function of store and seed."""

import collections
import functools

import numpy as np

from tpu_lm.checks import UserError
from tpu_lm.data import packing, progress
from tpu_lm.data.group_order import mix, permute_groups
from tpu_lm.data.histogram_packing import RowKind, pack_histogram
from tpu_lm.data.permutation import reshuffle, stable_hash
from tpu_lm.data.store import TokenStore


class PackedRows:
  """Rows that hold whole documents, in an order that needs no state.

  A document of n tokens takes n - 1 places. Which lengths share a row is
  worked out once, see `histogram_packing`; which documents of these lengths
  do, and the order of the rows, is drawn anew in every epoch. Each epoch reads
  every document once, but those too long for a row (left out, with a line that
  says how many) and those of one token (nothing to predict).

  Attributes:
    rows_per_epoch: rows that hold every document once.
    left_out: how many documents are too long for a row.
    fill: share of the rows' places that hold a token, in (0, 1].
  """

  def __init__(
    self,
    store: TokenStore,
    sequence_length: int,
    seed: int,
    name: str,
    mask_documents: bool = True,
  ):
    """Packs a store's documents; arguments and errors as of `open_rows`."""
    where = f'{name} ({store.manifest.split})'
    sizes = np.diff(store.offsets) - 1
    self.left_out = int(np.count_nonzero(sizes > sequence_length))
    longest = int(sizes.max(initial=0))
    sizes[sizes > sequence_length] = 0
    counts = np.bincount(sizes, minlength=sequence_length + 1)
    unused, counts[0] = int(counts[0]), 0
    if not counts.any():
      raise UserError(
        f'{where}: none of its {len(sizes):,} documents fits whole into a row'
        f' of sequence_length {sequence_length} (the longest needs {longest})'
      )
    if self.left_out:
      _say_once(
        f'{where}: {self.left_out:,} of'
        f' {len(sizes):,} documents do not fit whole into rows of'
        f' sequence_length {sequence_length} and are left out (the longest'
        f' needs {longest})'
      )
    # Documents by length; a sort of small integers takes linear time.
    small = sizes.astype(np.min_scalar_type(sequence_length))
    order = np.argsort(small, kind='stable')[unused:]
    self._documents = order.astype(np.min_scalar_type(len(sizes)))
    self._counts = counts
    self._first_document = np.cumsum(counts) - counts
    kinds = pack_histogram(counts, sequence_length)
    self._table = _KindTable(kinds)
    self.rows_per_epoch = int(self._table.first_row[-1])
    places = self.rows_per_epoch * sequence_length
    self.fill = float(counts @ np.arange(len(counts))) / places
    self._store = store
    self._length = sequence_length
    self._key = (seed, name)
    self._mask_documents = mask_documents

  def read(self, cursors: np.ndarray) -> dict[str, np.ndarray]:
    """Reads rows by number, see `rows.Rows.read`."""
    cursors = np.asarray(cursors, np.int64)
    rows, numbers = self.documents(cursors)
    starts = self._store.offsets[numbers]
    sizes = self._store.offsets[numbers + 1] - starts
    losses = None
    if self._store.manifest.masked:
      losses = self._store.gather_loss(starts, sizes)
    return packing.packed(
      self._store.gather_tokens(starts, sizes),
      losses,
      rows,
      len(cursors),
      self._length,
      self._mask_documents,
    )

  def documents(self, cursors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Says which documents are in which rows.

    Args:
      cursors: i64[n], rows as of `read`.

    Returns:
      For each document of these rows, in their order, the place of its row in
      `cursors` and its number in the store, both i64.
    """
    places = reshuffle(cursors, self.rows_per_epoch, *self._key)
    rows, lengths, ranks = self._table.slots(places)
    epochs = cursors[rows] // self.rows_per_epoch
    drawn = np.frombuffer(stable_hash(*self._key, 'packed'), '<u8')
    groups = mix(mix(drawn ^ epochs.astype(np.uint64)) ^ lengths.astype('<u8'))
    ranks = permute_groups(ranks, self._counts[lengths], groups)
    numbers = self._documents[self._first_document[lengths] + ranks]
    return rows, numbers.astype(np.int64)


@functools.cache
def _say_once(line: str) -> None:
  """Says it once in a process, however often these rows are opened."""
  progress.say(line)


class _KindTable:
  """The slots of every row, for looking many rows up at once.

  A slot is the place of one document in a kind of row. The documents of one
  length are dealt to the slots of that length, kind by kind and row by row.

  Attributes:
    first_row: i64[kinds + 1], where each kind's rows begin.
  """

  def __init__(self, kinds: list[RowKind]):
    dealt = collections.Counter()
    entries = []  # length, copies, documents of this length in earlier kinds
    for kind in kinds:
      for length, copies in kind.lengths:
        entries.append((length, copies, dealt[length]))
        dealt[length] += kind.rows * copies
    lengths, copies, earlier = np.array(entries).T
    entry_ends = np.cumsum(copies)
    copy = np.arange(entry_ends[-1]) - np.repeat(entry_ends - copies, copies)
    self._lengths = np.repeat(lengths, copies)
    self._ranks = np.repeat(earlier, copies) + copy
    self._strides = np.repeat(copies, copies)
    rows = [kind.rows for kind in kinds]
    self.first_row = np.concatenate([[0], np.cumsum(rows)])
    slots = [sum(copies for _, copies in kind.lengths) for kind in kinds]
    self._first_slot = np.concatenate([[0], np.cumsum(slots)])

  def slots(
    self, rows: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lists the slots of rows.

    Args:
      rows: i64[n], each below `first_row[-1]`.

    Returns:
      For each slot the place of its row in `rows`, the length of its document
      and which document of this length it is, all i64.
    """
    kinds = np.searchsorted(self.first_row, rows, side='right') - 1
    counts = self._first_slot[kinds + 1] - self._first_slot[kinds]
    row = np.repeat(np.arange(len(rows)), counts)
    within = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    slot = self._first_slot[kinds][row] + within
    number = (rows - self.first_row[kinds])[row]
    return (
      row,
      self._lengths[slot],
      self._ranks[slot] + number * self._strides[slot],
    )
