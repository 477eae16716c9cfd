"""Row `cursor` of a source: a pure function of store, seed, name and length."""

from typing import Protocol

import numpy as np

from tpu_lm.checks import UserError
from tpu_lm.data import packing
from tpu_lm.data.packed import PackedRows
from tpu_lm.data.permutation import reshuffle
from tpu_lm.data.store import TokenStore


class Rows(Protocol):
  """The rows of one source, in an order that needs no state.

  Attributes:
    rows_per_epoch: how many rows read everything once.
  """

  rows_per_epoch: int

  def read(self, cursors: np.ndarray) -> dict[str, np.ndarray]:
    """Reads rows by number.

    Args:
      cursors: i64[n], counted from the first row ever read; row c belongs to
        epoch c // rows_per_epoch.

    Returns:
      inputs i32[n, S], targets i32[n, S], weights f32[n, S], segments
      i32[n, S] and positions i32[n, S], as of `packing`.
    """
    ...


def open_rows(
  store: TokenStore,
  sequence_length: int,
  seed: int,
  name: str,
  mask_documents: bool = True,
) -> Rows:
  """Opens the rows of a store: packed whole where its documents are whole.

  Args:
    store: where the tokens are.
    sequence_length: S, positions in a row.
    seed: chooses the order, together with the name and the epoch.
    name: the source's name.
    mask_documents: whether attention (and loss) stop at documents' ends.

  Raises:
    UserError: the store has one token only, or is of whole documents and none
      fits into a row.
  """
  reader = PackedRows if store.manifest.whole else TextRows
  return reader(store, sequence_length, seed, name, mask_documents)


class TextRows:
  """Rows of running text: concatenated documents, cut into full rows.

  The store is cut into blocks of `sequence_length` tokens; each epoch reads
  every block once, in an order of its own. A row is a block and the token
  after it (the last target), hence `sequence_length + 1` tokens; the store's
  last block, if it is shorter, is padded.

  Attributes:
    rows_per_epoch: the number of blocks.
  """

  def __init__(
    self,
    store: TokenStore,
    sequence_length: int,
    seed: int,
    name: str,
    mask_documents: bool = True,
  ):
    """Cuts a store into rows; arguments and errors as of `open_rows`."""
    assert not store.manifest.masked, f'{name}: masked, but not whole'
    if store.num_tokens < 2:
      raise UserError(
        f'{name} ({store.manifest.split}) has one token: nothing to predict'
      )
    self.rows_per_epoch = -(-(store.num_tokens - 1) // sequence_length)
    self._store = store
    self._length = sequence_length
    self._key = (seed, name)
    self._mask_documents = mask_documents

  def read(self, cursors: np.ndarray) -> dict[str, np.ndarray]:
    """Reads rows by number, see `Rows.read`."""
    blocks = reshuffle(cursors, self.rows_per_epoch, *self._key)
    starts = blocks * self._length
    tokens, begun = self._store.gather(starts, self._length + 1)
    batch = packing.causal(tokens, begun, self._mask_documents)
    left = self._store.num_tokens - 1 - starts  # to predict, to the very end
    for row in np.flatnonzero(left < self._length):
      for value in batch.values():
        value[row, left[row] :] = 0
    return batch
