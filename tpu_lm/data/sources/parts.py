"""Stretches of files, and places in them."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

from tpu_lm.data.sources import listing

BLOCK = 1 << 22


class Damaged(Exception):
  """A file can't be read on; the text says where and why."""


@dataclasses.dataclass(frozen=True)
class Part:
  """A stretch of a file.

  Attributes:
    path: of the file, or its URL.
    start: first unit of the stretch; bytes, rows or records by its format.
    stop: the unit after its last; -1 for the end of the file.
  """

  path: str
  start: int = 0
  stop: int = -1


@dataclasses.dataclass(frozen=True)
class Shard:
  """What one worker reads at a time.

  Attributes:
    parts: in order.
    size: bytes of text, about, to show how far a build has come.
  """

  parts: tuple[Part, ...]
  size: int


class Place(NamedTuple):
  """Where a record is; its text is made only where it is needed.

  Attributes:
    path: of the file.
    unit: what is counted, such as 'line'; '' for a file that is one record.
    number: how many of them, counted from 1.
    skipped: for lines, how many bytes of the file lie before those counted.
  """

  path: str
  unit: str = ''
  number: int = 0
  skipped: int = 0

  def __str__(self) -> str:
    if not self.unit:
      return self.path
    number = self.number + _count_lines(self.path, self.skipped)
    return f'{self.path}, {self.unit} {number}'


Bad = Callable[[Place, Any], None]


def cut(path: str, sizes: list[int], target: int) -> list[tuple[Part, int]]:
  """Groups units that lie one behind the other into parts.

  Args:
    path: of the file.
    sizes: bytes of each unit (of a row group, say).
    target: bytes that a part may have, unless one unit has more.

  Returns:
    Parts in units, each with its bytes.
  """
  parts = []
  start = held = 0
  for unit, size in enumerate(sizes):
    if unit > start and held + size > target:
      parts.append((Part(path, start, unit), held))
      start, held = unit, 0
    held += size
  return [*parts, (Part(path, start, len(sizes)), held)]


def cut_evenly(
  path: str, units: int, size: int, target: int
) -> list[tuple[Part, int]]:
  """Cuts a file of equal units into parts of about `target` bytes."""
  count = max(1, min(units, -(-size // target)))
  bounds = [units * i // count for i in range(count + 1)]
  return [
    (Part(path, start, stop), size * stop // units - size * start // units)
    for start, stop in itertools.pairwise(bounds)
  ]


def _count_lines(path: str, stop: int) -> int:
  """How many lines end in the first `stop` bytes of a file."""
  return sum(
    listing.read_range(path, start, min(start + BLOCK, stop)).count(b'\n')
    for start in range(0, stop, BLOCK)
  )
