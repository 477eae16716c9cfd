"""CSV files with a line of column names (RFC 4180)."""

import csv
from collections.abc import Iterator
from typing import Any, BinaryIO

from tpu_lm.data.document import BadRecord
from tpu_lm.data.sources.parts import Bad, Damaged, Part, Place
from tpu_lm.data.sources.streams import BYTE_ORDER_MARK, open_stream

_LONGEST_CELL = (1 << 31) - 1  # the library's own limit is 128 KiB


def split(path: str, size: int, target: int) -> list[tuple[Part, int]]:
  """A cell may hold line ends, so only the whole file can be read."""
  del target
  return [(Part(path), size)]


def read(
  part: Part, fields: tuple[str, ...], bad: Bad
) -> Iterator[tuple[Place, dict[str, Any]]]:
  """Yields a record per row; every value is text."""
  csv.field_size_limit(_LONGEST_CELL)
  with open_stream(part.path) as stream:
    rows = csv.reader(_lines(stream), strict=True)
    try:
      columns = next(rows, [])
      _check_utf8('the header', '\n'.join(columns))
    except (csv.Error, BadRecord) as error:
      raise Damaged(f'{part.path}: no names of columns: {error}') from error
    while True:
      place = Place(part.path, 'line', rows.line_num + 1)
      try:
        cells = next(rows)
        record = _record(columns, cells, fields)
      except StopIteration:
        return
      except (csv.Error, BadRecord) as error:
        bad(place, error)
      else:
        if cells:
          yield place, record


def _lines(stream: BinaryIO) -> Iterator[str]:
  """What is not UTF-8 becomes lone surrogates, which _check_utf8 finds."""
  line = stream.readline().removeprefix(BYTE_ORDER_MARK)
  while line:
    yield line.decode(errors='surrogateescape')
    line = stream.readline()


def _record(
  columns: list[str], cells: list[str], fields: tuple[str, ...]
) -> dict[str, str]:
  if cells and len(cells) != len(columns):
    raise BadRecord(f'{len(cells)} cells in {len(columns)} columns')
  record = dict(zip(columns, cells))
  for field in fields:
    _check_utf8(f'field {field!r}', record.get(field, ''))
  return record


def _check_utf8(what: str, text: str) -> None:
  try:
    text.encode()
  except UnicodeEncodeError as error:
    raise BadRecord(f'{what} is not UTF-8') from error
