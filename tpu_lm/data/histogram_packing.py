"""Which lengths share a row, from how many documents there are of each length.

Packing works on the histogram of lengths, not on documents, as Krell et al.
2021 (arXiv 2107.02027, section 3) do, so its time depends on how many lengths
there are and ten million documents pack as fast as ten thousand. Rows are
filled one kind at a time by the minimum bin slack heuristic (Gupta and Ho 1999;
with the longest document fixed, Fleszar and Hindi 2002): the longest document
left, and with it those that leave least room. With no search at all that is
first-fit decreasing. More search fills a row better, but may spend the short
documents that later rows need; so several amounts are tried, and the fewest
rows win.
"""

import bisect
import dataclasses

import numpy as np

SEARCHES = (0, 10, 30, 100, 1000)  # second choices looked at for a kind of row
MOST_CHOICES = 2_000_000  # over all kinds of rows, to bound the time
GOOD_ENOUGH = 1.002  # rows, as a multiple of those that no packing can beat


@dataclasses.dataclass(frozen=True)
class RowKind:
  """Rows alike in the lengths that they hold.

  Attributes:
    rows: how many there are.
    lengths: each length in such a row, longest first, with how many
      documents of it the row holds.
  """

  rows: int
  lengths: tuple[tuple[int, int], ...]


def pack_histogram(counts: np.ndarray, row_length: int) -> list[RowKind]:
  """Packs lengths into rows.

  For two documents of length 5, three of length 3, one of length 2 and rows of
  length 8, `counts` is [0, 0, 1, 3, 0, 2, 0, 0, 0] and the result

      RowKind(2, ((5, 1), (3, 1)))     5 5 5 5 5 3 3 3    (twice)
      RowKind(1, ((3, 1), (2, 1)))     3 3 3 2 2 . . .

  Args:
    counts: i64[row_length + 1], how many documents there are of each length;
      none of length 0.
    row_length: how much a row holds.

  Returns:
    Kinds of rows that hold every document once; the same on every machine.
  """
  assert len(counts) == row_length + 1 and counts[0] == 0, len(counts)
  total = int(counts @ np.arange(row_length + 1))
  best: list[RowKind] = []
  for search in SEARCHES:
    if search * np.count_nonzero(counts) > MOST_CHOICES:
      break
    kinds = _fill_rows(counts, row_length, search)
    if not best or _rows(kinds) < _rows(best):
      best = kinds
    if _rows(best) <= GOOD_ENOUGH * -(-total // row_length):
      break
  return best


def _rows(kinds: list[RowKind]) -> int:
  return sum(kind.rows for kind in kinds)


def _fill_rows(
  counts: np.ndarray, row_length: int, search: int
) -> list[RowKind]:
  """Packs the longest length left until none is left."""
  lengths = np.flatnonzero(counts).tolist()
  left = {length: int(counts[length]) for length in lengths}
  kinds = []
  while lengths:
    chosen = _fill_row(lengths, left, row_length, search)
    rows = min(left[length] // copies for length, copies in chosen)
    kinds.append(RowKind(rows, tuple(chosen)))
    for length, copies in chosen:
      left[length] -= rows * copies
      if left[length] == 0:
        del lengths[bisect.bisect_left(lengths, length)]
  return kinds


def _fill_row(
  lengths: list[int], left: dict[int, int], row_length: int, search: int
) -> list[tuple[int, int]]:
  """Finds lengths that leave little room, the longest of all among them.

  A depth-first search that takes the longest first, and as many of it as go
  in. It ends when the row is full, or after `search` second choices.

  Args:
    lengths: those left, rising.
    left: how many there are of each.
    row_length: how much the row holds.
    search: how many second choices to look at.

  Returns:
    Each length chosen, falling, with how many of it.
  """
  stack: list[tuple[int, int]] = []
  room, below = row_length, len(lengths)
  best, least_room = stack, row_length + 1
  while True:
    while room >= lengths[0]:
      below = bisect.bisect_right(lengths, room, 0, below) - 1
      if below < 0:
        break
      length = lengths[below]
      copies = min(left[length], room // length)
      stack.append((length, copies))
      room -= copies * length
    if room < least_room:
      best, least_room = stack.copy(), room
    if room == 0 or search == 0:
      return best
    search -= 1
    length, copies = stack.pop()  # with one fewer of it, and shorter ones
    room += length
    if copies > 1:
      stack.append((length, copies - 1))
    elif not stack:
      return best  # the longest length stays
    below = bisect.bisect_left(lengths, length)
