"""Text files of a folder as a Task, without any code by the user."""

import functools
import gzip
import hashlib
import json
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path

import seqio

from data_tasks.texts import FEATURES, PREPROCESSORS, text_source
from tpu_lm.checks import UserError
from tpu_lm.data.sources import SUFFIXES, TextFiles

OPENERS = {'.gz': gzip.open, '.xz': lzma.open}


def make_task(files: TextFiles) -> seqio.Task:
  """Makes the Task of text files; it is not put into seqio's registry.

  Splits and order depend on the files alone. An empty document is left out.

  Args:
    files: which.

  Returns:
    A task with splits train and validation. Reading it raises UserError for a
    folder without texts, a file that is not UTF-8 or can't be decompressed,
    a line that is not JSON or has no text.
  """
  patterns = {*files.patterns('train'), *files.patterns('validation')}
  source = text_source(
    functools.partial(read_texts, files),
    sorted(patterns),
    functools.partial(describe, files),
  )
  return seqio.Task(
    files.name,
    source=source,
    output_features=FEATURES,
    preprocessors=PREPROCESSORS,
  )


def read_texts(files: TextFiles, split: str) -> Iterator[str]:
  """Yields the texts of 'train' or 'validation' in order of paths."""
  empty = True
  for path in _paths(files, split):
    for text in _read(path, files.text_field):
      if text and _belongs(files, split, text):
        empty = False
        yield text
  if empty:
    raise UserError(
      f'TextFiles {files.name}: no document of {files.path} falls into the'
      f' {split} split. Set TextFiles.validation_path to other files, or'
      ' change TextFiles.validation_fraction'
      if files.validation_path is None
      else f'TextFiles {files.name}: the {split} files hold no text'
    )


def describe(files: TextFiles, split: str) -> tuple[int, int]:
  """Counts files and bytes, before documents are set aside."""
  paths = _paths(files, split)
  return len(paths), sum(Path(path).stat().st_size for path in paths)


def _paths(files: TextFiles, split: str) -> list[str]:
  paths = files.paths(split)
  if not paths:
    where = ', '.join(files.patterns(split))
    raise UserError(f'TextFiles {files.name}: there is no file {where}')
  for path in paths:
    if not path.endswith(SUFFIXES):
      raise UserError(f'{path}: must end in {", ".join(SUFFIXES)}')
  return paths


def _belongs(files: TextFiles, split: str, text: str) -> bool:
  if files.validation_path is not None:
    return True
  digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
  held_out = int.from_bytes(digest) < files.validation_fraction * 2**64
  return held_out == (split == 'validation')


def _read(path: str, text_field: str) -> Iterator[str]:
  if path.endswith('.txt'):
    yield _decode(Path(path).read_bytes(), path, '')
    return
  # Lines end at \n alone: texts may hold U+2028 and other line separators.
  opener: Callable = OPENERS.get(Path(path).suffix, open)
  try:
    with opener(path, 'rb') as file:
      for number, line in enumerate(file, start=1):
        if line.strip():
          yield _parse(line, path, number, text_field)
  except (gzip.BadGzipFile, lzma.LZMAError, EOFError) as error:
    raise UserError(f'{path}: damaged: {error}') from error


def _parse(line: bytes, path: str, number: int, text_field: str) -> str:
  where = f', line {number}'
  try:
    record = json.loads(_decode(line, path, where))
  except json.JSONDecodeError as error:
    raise UserError(
      f'{path}{where}: not JSON: {error.msg} at character {error.pos}'
    ) from error
  text = record.get(text_field) if isinstance(record, dict) else None
  if not isinstance(text, str):
    raise UserError(f'{path}{where}: has no text under {text_field!r}')
  return text


def _decode(data: bytes, path: str, where: str) -> str:
  try:
    return data.decode()
  except UnicodeDecodeError as error:
    raise UserError(
      f'{path}{where}: not UTF-8 at byte {error.start}'
    ) from error
