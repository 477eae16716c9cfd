"""What reads the rows of a source, whatever they are made of."""

from typing import Protocol

import numpy as np


class Rows(Protocol):
  """The rows of one source, in an order that needs no state.

  Attributes:
    rows_per_epoch: how many rows read everything once.
    label: tells rows of different lengths of a source apart, and how many
      tokens of the source a row takes; see `ledger.row_key`.
    vocabulary_size: every token is below it, special tokens included.
    objectives: names of the objectives that rows are of.
  """

  rows_per_epoch: int
  label: str
  vocabulary_size: int
  objectives: tuple[str, ...]

  def read(self, cursors: np.ndarray) -> dict[str, np.ndarray]:
    """Reads rows by number.

    Args:
      cursors: i64[n], counted from the first row ever read; row c belongs to
        epoch c // rows_per_epoch.

    Returns:
      What the layout's kind of model reads, by `shapes.BATCH_KEYS`; and
      objective i64[n], which of `objectives` a row is of, if there are several.
    """
    ...
