"""Rows that were read, without those that were skipped."""

import dataclasses

import numpy as np

from tpu_lm.data.ledger import Ledger, split_key


@dataclasses.dataclass(frozen=True)
class Pool:
  """Rows that were read.

  Attributes:
    source: of the rows.
    stretches: first cursor and the one after the last, ascending; what was
      skipped lies between them.
    fingerprint: of the store.
  """

  source: str
  stretches: tuple[tuple[int, int], ...]
  fingerprint: str

  @property
  def size(self) -> int:
    """Rows in the pool."""
    return sum(stop - start for start, stop in self.stretches)

  def first(self, rows: int) -> 'Pool':
    """The pool of the first rows of this one."""
    kept = []
    for start, stop in self.stretches:
      kept.append((start, min(stop, start + rows)))
      rows -= kept[-1][1] - start
    kept = tuple((start, stop) for start, stop in kept if start < stop)
    return dataclasses.replace(self, stretches=kept)

  def cursors(self, places: np.ndarray) -> np.ndarray:
    """i64[n], places in the pool, counted from 0, to cursors of the source."""
    starts, stops = np.array(self.stretches, np.int64).T
    before = np.cumsum(stops - starts) - (stops - starts)
    stretch = np.searchsorted(before, places, side='right') - 1
    return starts[stretch] + places - before[stretch]


def kept_rows(
  key: str, start: int, stop: int, ledger: Ledger
) -> tuple[tuple[int, int], ...]:
  """The stretches of rows from which something was kept.

  Args:
    key: of `row_key`.
    start: the first row that was read.
    stop: the one after the last.
    ledger: knows which were skipped.

  Returns:
    First row and the one after the last of each stretch, ascending.
  """
  source, _ = split_key(key)
  gaps = [
    one.rows[key]
    for one in ledger.skipped
    if key in one.rows and one.stores.get(source) == ledger.stores.get(source)
  ]
  kept = []
  for first, after in sorted(gaps):
    if start < min(first, stop):
      kept.append((start, min(first, stop)))
    start = max(start, after)
  if start < stop:
    kept.append((start, stop))
  return tuple(kept)
