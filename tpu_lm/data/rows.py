"""Row `cursor` of a source: a pure function of store, seed, name and length."""

import numpy as np

from tpu_lm.checks import UserError
from tpu_lm.data.permutation import reshuffle
from tpu_lm.data.store import TokenStore


class Rows:
  """The rows of one source, in an order that needs no state.

  The store is cut into blocks of `sequence_length` tokens; each epoch reads
  every block once, in an order of its own. A row is a block and the token
  after it (the last target), hence `sequence_length + 1` tokens.

  Attributes:
    rows_per_epoch: the number of blocks.
  """

  def __init__(
    self, store: TokenStore, sequence_length: int, seed: int, name: str
  ):
    """Cuts a store into rows.

    Args:
      store: where the tokens are.
      sequence_length: tokens predicted in a row.
      seed: chooses the order, together with the name and the epoch.
      name: the source's name.

    Raises:
      UserError: the store has not tokens enough for one row.
    """
    if store.num_tokens < sequence_length + 1:
      raise UserError(
        f'{name} has {store.num_tokens:,} tokens: too few for one row of'
        f' sequence_length {sequence_length} (and the token after it)'
      )
    self.rows_per_epoch = (store.num_tokens - 1) // sequence_length
    self._store = store
    self._length = sequence_length
    self._key = (seed, name)

  def read(self, cursors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reads rows by number.

    Args:
      cursors: i64[n], counted from the first row ever read; row c belongs to
        epoch c // rows_per_epoch.

    Returns:
      tokens i32[n, sequence_length + 1] and, of the same shape, documents i64.
    """
    blocks = reshuffle(cursors, self.rows_per_epoch, *self._key)
    return self._store.gather(blocks * self._length, self._length + 1)
