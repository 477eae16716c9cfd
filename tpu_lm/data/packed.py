"""Rows of whole examples: row `cursor` is a pure function of store and seed."""

import collections
import functools

import numpy as np

from tpu_lm.checks import UserError
from tpu_lm.data import packing, placing, progress
from tpu_lm.data.group_order import mix, permute_groups
from tpu_lm.data.histogram_packing import RowKind, pack_histogram
from tpu_lm.data.layout import PREFIX_DECODER, Layout
from tpu_lm.data.permutation import reshuffle, stable_hash
from tpu_lm.data.store import TokenStore


class WholeDocuments:
  """Which whole documents share a row, in an order that needs no state.

  Which sizes share a row is worked out once, see `histogram_packing`; which
  documents of these sizes do, and the order of the rows, is drawn anew in
  every epoch. Each epoch has every document once, but those too long for a
  row (left out, with a line that says how many) and those of size 0.

  Attributes:
    rows_per_epoch: rows that hold every document once.
    left_out: how many documents are too long for a row.
    fill: share of the rows' places that are taken, in (0, 1].
  """

  def __init__(
    self,
    sizes: np.ndarray,
    room: int,
    key: tuple[int | str, ...],
    where: str,
    row: str,
  ):
    """Packs documents.

    Args:
      sizes: i64[documents], the room that each takes up; 0: it is left out.
      room: of a row.
      key: chooses the order, together with the epoch.
      where: name and split of the source, for messages.
      row: what a row is, for messages.

    Raises:
      UserError: no document fits into a row.
    """
    self.left_out = int(np.count_nonzero(sizes > room))
    longest = int(sizes.max(initial=0))
    sizes = np.where(sizes > room, 0, sizes)
    counts = np.bincount(sizes, minlength=room + 1)
    unused, counts[0] = int(counts[0]), 0
    if not counts.any():
      raise UserError(
        f'{where}: none of its {len(sizes):,} documents fits whole into a row'
        f' of {row} (the longest needs {longest})'
      )
    if self.left_out:
      _say_once(
        f'{where}: {self.left_out:,} of'
        f' {len(sizes):,} documents do not fit whole into rows of'
        f' {row} and are left out (the longest'
        f' needs {longest})'
      )
    # Documents by size; a sort of small integers takes linear time.
    small = sizes.astype(np.min_scalar_type(room))
    order = np.argsort(small, kind='stable')[unused:]
    self._documents = order.astype(np.min_scalar_type(len(sizes)))
    self._counts = counts
    self._first_document = np.cumsum(counts) - counts
    self._table = _KindTable(pack_histogram(counts, room))
    self.rows_per_epoch = int(self._table.first_row[-1])
    places = self.rows_per_epoch * room
    self.fill = float(counts @ np.arange(len(counts))) / places
    self._key = key

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


class PackedRows(WholeDocuments):
  """Rows of whole documents for next-token prediction.

  A document of n tokens takes n - 1 places; one of one token has nothing to
  predict and is left out.

  Attributes:
    label: of the rows, see `row_reader.Rows`.
    vocabulary_size: likewise.
    objectives: likewise.
  """

  objectives = ('causal',)

  def __init__(self, store: TokenStore, layout: Layout, seed: int, name: str):
    """Packs a store's documents; arguments and errors as of `open_rows`."""
    length = layout.length
    super().__init__(
      np.diff(store.offsets) - 1,
      length,
      (seed, name),
      f'{name} ({store.manifest.split})',
      f'sequence_length {length}',
    )
    self.label = str(length)
    self.vocabulary_size = store.vocabulary_size
    self._store = store
    self._layout = layout

  def read(self, cursors: np.ndarray) -> dict[str, np.ndarray]:
    """Reads rows by number, see `row_reader.Rows.read`."""
    cursors = np.asarray(cursors, np.int64)
    rows, numbers = self.documents(cursors)
    starts = self._store.offsets[numbers]
    sizes = self._store.offsets[numbers + 1] - starts
    losses = None
    if self._store.manifest.masked:
      losses = self._store.gather_loss(starts, sizes)
    batch = packing.packed(
      self._store.gather_tokens(starts, sizes),
      losses,
      rows,
      len(cursors),
      self._layout.length,
      self._layout.mask_documents,
    )
    if self._layout.kind == PREFIX_DECODER:
      batch['prefix'] = placing.read_before_loss(batch)
    return batch


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
