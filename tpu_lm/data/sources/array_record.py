"""ArrayRecord files (github.com/google/array_record)."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tpu_lm.data.document import BadRecord
from tpu_lm.data.sources.listing import copy_here, is_url
from tpu_lm.data.sources.parsing import parse_serialized
from tpu_lm.data.sources.parts import Bad, Damaged, Part, Place, cut_evenly


def split(path: str, size: int, target: int) -> list[tuple[Part, int]]:
  """Cuts a local file into ranges of records.

  Elsewhere it is one part: the library reads only local files, so each part
  would copy all of the file. So is a damaged file.
  """
  if is_url(path):
    return [(Part(path), size)]
  try:
    with _open(path) as reader:
      count = reader.num_records()
  except Damaged:
    count = 0
  return (
    cut_evenly(path, count, size, target) if count else [(Part(path), size)]
  )


def read(
  part: Part, fields: tuple[str, ...], bad: Bad
) -> Iterator[tuple[Place, dict[str, Any]]]:
  """Reads a range of records; a file that is not local is copied first."""
  with _open(part.path) as reader:
    stop = reader.num_records() if part.stop < 0 else part.stop
    if part.start < stop:
      reader.seek(part.start)
    for number in range(part.start, stop):
      place = Place(part.path, 'record', number + 1)
      try:
        data = reader.read()
      except RuntimeError as error:  # the library has no other
        raise Damaged(f'{place}: damaged: {error}') from error
      try:
        record = parse_serialized(data, fields)
      except BadRecord as error:
        bad(place, error)
      else:
        yield place, record


@contextlib.contextmanager
def _open(path: str) -> Iterator[Any]:
  from array_record.python.array_record_module import ArrayRecordReader

  with contextlib.ExitStack() as stack:
    local = path
    if is_url(path):
      folder = stack.enter_context(tempfile.TemporaryDirectory())
      local = str(Path(folder) / 'copy')
      copy_here(path, local)
    Path(local).stat()  # the library does not say that a file is missing
    # Fewer threads and less memory than it takes by itself.
    reader = ArrayRecordReader(local, 'max_parallelism:1')
    stack.callback(_close, reader)
    if not reader.ok():
      try:
        reader.read()
      except RuntimeError as error:
        raise Damaged(f'{path}: damaged: {error}') from error
    yield reader


def _close(reader: Any) -> None:
  if reader.ok():  # else it would raise what has been told before
    reader.close()
