"""Rows of Arrow record batches as Python values."""

from collections.abc import Iterator
from typing import Any

from tpu_lm.data.sources.parts import Bad, Place


def select_columns(names: list[str], fields: tuple[str, ...]) -> list[str]:
  """The columns to be read: all where there is none of those wanted.

  So that a message can say what columns there are.
  """
  return [name for name in names if name in fields] or names


def check_places(batch: Any) -> None:
  """Raises pyarrow.ArrowInvalid where values would lie outside of a batch.

  Arrow would read there all the same. Bytes that are not UTF-8 pass: `rows_of`
  tells of them.
  """
  import pyarrow

  try:
    batch.validate(full=True)
  except pyarrow.ArrowInvalid as error:
    if 'UTF8' not in str(error):
      raise


def rows_of(
  batch: Any, path: str, first: int, fields: tuple[str, ...], bad: Bad
) -> Iterator[tuple[Place, dict[str, Any]]]:
  """Yields the rows of a batch.

  Args:
    batch: a pyarrow.RecordBatch.
    path: of its file.
    first: how many rows of the file lie before it.
    fields: columns whose bytes are read as text.
    bad: called for a row with bytes that are not UTF-8.
  """
  try:
    records = batch.to_pylist()
  except UnicodeDecodeError:  # Arrow does not check what others wrote
    records = None
  for index in range(batch.num_rows):
    place = Place(path, 'row', first + index + 1)
    try:
      if records is None:
        one = batch.slice(index, 1)
        check_places(one)
        (record,) = one.to_pylist()
      else:
        record = records[index]
      for field in fields:
        if isinstance(record.get(field), bytes):
          record[field] = record[field].decode()
    except UnicodeDecodeError as error:
      bad(place, f'not UTF-8 at byte {error.start}')
    else:
      yield place, record
