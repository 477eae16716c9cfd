"""Which reader reads which kind of file, in one place."""

from types import ModuleType

from tpu_lm.data.sources import (
  array_record,
  arrow,
  comma_separated,
  json_lines,
  parquet,
  text,
  tfrecord,
)
from tpu_lm.data.sources.kinds import kind_of

READERS = {
  '.txt': text,
  '.md': text,
  '.jsonl': json_lines,
  '.json': json_lines,
  '.csv': comma_separated,
  '.parquet': parquet,
  '.tfrecord': tfrecord,
  '.array_record': array_record,
  '.arrow': arrow,
}


def reader_of(path: str) -> ModuleType:
  """The reader of a file whose kind is understood, see `kinds.kind_of`."""
  kind = kind_of(path)
  assert kind is not None, path
  return READERS[kind[0]]
