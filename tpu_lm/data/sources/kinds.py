"""Tells files apart by their names."""

import posixpath
import re

# Kinds that are read from their start on, so that they may be compressed.
STREAMS = ('.txt', '.md', '.jsonl', '.json', '.csv', '.tfrecord')
# Kinds that are compressed within, if they are.
BLOCKS = ('.parquet', '.array_record', '.arrow')
COMPRESSIONS = ('.gz', '.xz', '.zst')
UNDERSTOOD = (
  f'{", ".join(STREAMS)} (each also with {", ".join(COMPRESSIONS)}),'
  f' {", ".join(BLOCKS)}'
)
# What is written beside data by those who hand it out. Left out of folders.
NOTES = (
  'README.md',
  'dataset_dict.json',
  'dataset_info.json',
  'dataset_infos.json',
  'features.json',
  'state.json',
)
_NUMBER = re.compile(r'-\d+-of-\d+$')


def kind_of(path: str) -> tuple[str, str] | None:
  """What a file is by its name.

  Args:
    path: as `a/b.jsonl.gz` or `a/b.tfrecord-00000-of-00002`; case is ignored.

  Returns:
    The suffix of its kind and of its compression ('' for none); None where
    the kind is not understood.
  """
  name = _NUMBER.sub('', posixpath.basename(path)).lower()
  stem, suffix = posixpath.splitext(name)
  if suffix in BLOCKS:
    return suffix, ''
  compression = suffix if suffix in COMPRESSIONS else ''
  suffix = posixpath.splitext(stem)[1] if compression else suffix
  return (suffix, compression) if suffix in STREAMS else None


def is_data(path: str) -> bool:
  """Whether a file that was found in a folder is read."""
  name = posixpath.basename(path)
  return name not in NOTES and kind_of(path) is not None
