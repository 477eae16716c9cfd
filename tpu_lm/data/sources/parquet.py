"""Parquet files, cut between their row groups."""

import contextlib
from collections.abc import Iterator
from typing import Any

from tpu_lm.data.sources.arrow_rows import rows_of, select_columns
from tpu_lm.data.sources.listing import open_binary
from tpu_lm.data.sources.parts import Bad, Damaged, Part, Place, cut

_ROWS = 64  # converted at a time; a row may be large


def split(path: str, size: int, target: int) -> list[tuple[Part, int]]:
  """Cuts a file into ranges of row groups; a damaged one stays whole."""
  try:
    with _open(path) as file:
      groups = [_group_size(file, i) for i in range(file.num_row_groups)]
  except Damaged:
    groups = []
  return cut(path, groups, target) if groups else [(Part(path), size)]


def read(
  part: Part, fields: tuple[str, ...], bad: Bad
) -> Iterator[tuple[Place, dict[str, Any]]]:
  """Reads rows of row groups; only the columns that are needed."""
  with _open(part.path) as file:
    stop = file.num_row_groups if part.stop < 0 else part.stop
    groups = range(part.start, stop)
    metadata = file.metadata
    row = sum(metadata.row_group(i).num_rows for i in range(part.start))
    columns = select_columns(file.schema_arrow.names, fields)
    for batch in file.iter_batches(_ROWS, groups, columns):
      yield from rows_of(batch, part.path, row, fields, bad)
      row += batch.num_rows


def _group_size(file: Any, group: int) -> int:
  metadata = file.metadata.row_group(group)
  columns = range(metadata.num_columns)
  return sum(metadata.column(i).total_compressed_size for i in columns)


@contextlib.contextmanager
def _open(path: str) -> Iterator[Any]:
  """Opens a file as a pyarrow.parquet.ParquetFile."""
  import pyarrow
  import pyarrow.parquet

  with open_binary(path) as stored:
    try:
      yield pyarrow.parquet.ParquetFile(stored)
    except (pyarrow.ArrowException, OSError) as error:
      raise Damaged(f'{path}: damaged: {error}') from error
