"""Rows of whole examples for an encoder-decoder: inputs here, targets there."""

import numpy as np

from tpu_lm.checks import UserError
from tpu_lm.data.layout import Layout
from tpu_lm.data.packed import WholeDocuments
from tpu_lm.data.special_tokens import Special
from tpu_lm.data.store import TokenStore

STRETCH = 1 << 24  # loss flags read at once


class PairRows(WholeDocuments):
  """Rows that hold whole examples on both sides.

  An example's inputs are its tokens before the first that carries loss, and an
  end mark; its targets are the rest. Segment k of the encoder belongs to
  segment k of the decoder. Both sides must have room, so an example takes the
  larger of its two shares of a row.

  For the examples `a b -> c .` and `d -> e f .` in rows of 6 and 7:

      encoder_inputs    a b . d . 0       inputs     0 c 0 e f 0 0
      encoder_segments  1 1 1 2 2 0       targets    c . e f . 0 0
                                          segments   1 1 2 2 2 0 0

  Attributes:
    label: of the rows, see `row_reader.Rows`.
    vocabulary_size: likewise.
    objectives: likewise.
  """

  objectives = ('pairs',)

  def __init__(
    self,
    store: TokenStore,
    layout: Layout,
    seed: int,
    name: str,
    special: Special,
  ):
    """Packs a store's examples; arguments and errors as of `rows.open_rows`."""
    where = f'{name} ({store.manifest.split})'
    if not store.manifest.masked:
      raise UserError(
        f'{where}: its examples have no inputs apart from their targets, so'
        ' there is nothing for an encoder to read'
      )
    self._split = first_losses(store)
    targets = np.diff(store.offsets) - self._split
    room = max(layout.length, layout.targets)
    read = -(-(self._split + 1) * room // layout.length)
    written = -(-targets * room // layout.targets)
    sizes = np.where(targets > 0, np.maximum(read, written), 0)
    super().__init__(
      sizes,
      room,
      (seed, name),
      where,
      f'sequence_length {layout.length} and target_length {layout.targets}',
    )
    self.label = f'{layout.length}+{layout.targets}'
    self.vocabulary_size = max(store.vocabulary_size, special.size((), 0))
    self._store = store
    self._layout = layout
    self._special = special

  def read(self, cursors: np.ndarray) -> dict[str, np.ndarray]:
    """Reads rows by number, see `row_reader.Rows.read`."""
    cursors = np.asarray(cursors, np.int64)
    rows, numbers = self.documents(cursors)
    starts, split = self._store.offsets[numbers], self._split[numbers]
    sizes = self._store.offsets[numbers + 1] - starts
    documents = self._store.gather_tokens(starts, sizes)
    losses = self._store.gather_loss(starts, sizes)
    parts = list(zip(documents, losses, split.tolist(), strict=True))
    end = np.array([self._special.end], np.int32)
    start = np.array([self._special.start], np.int32)
    shape = len(cursors), self._layout.length
    read = _laid(
      {'inputs': [np.concatenate([t[:s], end]) for t, _, s in parts]},
      rows,
      shape,
    )
    written = _laid(
      {
        'inputs': [np.concatenate([start, t[s:-1]]) for t, _, s in parts],
        'targets': [t[s:] for t, _, s in parts],
        'weights': [loss[s:] for _, loss, s in parts],
      },
      rows,
      (len(cursors), self._layout.targets),
    )
    return {**{f'encoder_{k}': v for k, v in read.items()}, **written}


def _laid(
  columns: dict[str, list], rows: np.ndarray, shape: tuple[int, int]
) -> dict[str, np.ndarray]:
  """Puts examples into their rows, each a segment, from the left.

  Args:
    columns: key to a sequence for each example, of one length in all of them.
    rows: i64[examples], not falling.
    shape: of the result.

  Returns:
    The columns, segments and positions; weights f32, all else i32.
  """
  sizes = np.array([len(one) for one in next(iter(columns.values()))], np.int64)
  held = np.bincount(rows, sizes, minlength=shape[0])
  assert np.all(held <= shape[1]), (held.max(), shape)
  used = np.arange(shape[1]) < held[:, None]
  starts = np.cumsum(sizes) - sizes
  values = {key: np.concatenate(column) for key, column in columns.items()}
  number = 1 + np.arange(len(rows)) - np.searchsorted(rows, rows)
  values['segments'] = np.repeat(number, sizes)
  values['positions'] = np.arange(sizes.sum()) - np.repeat(starts, sizes)
  result = {}
  for key, value in values.items():
    dtype = np.float32 if key == 'weights' else np.int32
    result[key] = np.zeros(shape, dtype)
    result[key][used] = value
  return result


def first_losses(store: TokenStore) -> np.ndarray:
  """Tokens before the first that carries loss, i64[documents]."""
  offsets = np.asarray(store.offsets)
  first = np.diff(offsets)  # where none does
  begin = 0
  while begin < store.num_documents:
    most = np.searchsorted(offsets, offsets[begin] + STRETCH, side='right') - 1
    stop = max(begin + 1, int(most))
    losses = store.loss(int(offsets[begin]), int(offsets[stop]))
    lost = np.append(np.flatnonzero(losses), len(losses))
    starts = offsets[begin:stop] - offsets[begin]
    found = lost[np.searchsorted(lost, starts)] - starts
    first[begin:stop] = np.minimum(found, first[begin:stop])
    begin = stop
  return first
