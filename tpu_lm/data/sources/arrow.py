"""Arrow's streams, as Hugging Face `datasets` saves them, and its files.

A file is a stream between a magic word and an index, which is not needed here
(https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format).
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from tpu_lm.data.sources.arrow_rows import (
  check_places,
  rows_of,
  select_columns,
)
from tpu_lm.data.sources.listing import is_url, open_binary
from tpu_lm.data.sources.parts import Bad, Damaged, Part, Place, cut

_MAGIC = b'ARROW1\0\0'
_ROWS = 64  # converted at a time; a row may be large


def split(path: str, size: int, target: int) -> list[tuple[Part, int]]:
  """Cuts a local file between its batches.

  Elsewhere it is one part: batches are found by reading up to them. So is a
  damaged file.
  """
  if is_url(path):
    return [(Part(path), size)]
  try:
    with _open(path) as batches:
      sizes = [batch.nbytes for batch in batches]
  except Damaged:
    sizes = []
  return cut(path, sizes, target) if sizes else [(Part(path), size)]


def read(
  part: Part, fields: tuple[str, ...], bad: Bad
) -> Iterator[tuple[Place, dict[str, Any]]]:
  """Reads rows of batches; only the columns that are needed."""
  row = 0
  with _open(part.path) as batches:
    columns = select_columns(batches.schema.names, fields)
    for number, batch in enumerate(batches):
      if number >= part.stop >= 0:
        return
      if number >= part.start:
        chosen = batch.select(columns)
        check_places(chosen)
        for start in range(0, batch.num_rows, _ROWS):
          few = chosen.slice(start, _ROWS)
          yield from rows_of(few, part.path, row + start, fields, bad)
      row += batch.num_rows


@contextlib.contextmanager
def _open(path: str) -> Iterator[Any]:
  """Opens a file as a pyarrow.RecordBatchStreamReader."""
  import pyarrow

  # Mapped, batches that are passed over are not read.
  opened = open_binary(path) if is_url(path) else pyarrow.memory_map(path)
  with opened as stored:
    try:
      if stored.read(len(_MAGIC)) != _MAGIC:
        stored.seek(0)
      yield pyarrow.ipc.open_stream(stored)
    except (pyarrow.ArrowException, OSError) as error:
      raise Damaged(f'{path}: damaged: {error}') from error
