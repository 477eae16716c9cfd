"""Finds files by path, glob or URL; fsspec knows the storages."""

import glob
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from tpu_lm.checks import UserError
from tpu_lm.data.sources.kinds import is_data

# The glob of all files below a folder: those that are no data are left out.
BELOW = '/**/*.*'
# What storages call the version of a file, the surest first.
_VERSIONS = (
  'etag',
  'ETag',
  'generation',
  'mtime',
  'LastModified',
  'last_modified',
  'updated',
  'created',
)
_BUFFER = 1 << 20


def is_url(path: str) -> bool:
  """Whether a path is a URL, as in gs://bucket/folder."""
  return '://' in path


def absolute(path: str) -> str:
  """A path that does not depend on the working directory; URLs stay."""
  if is_url(path):
    return path.rstrip('/')
  return str(Path(path).expanduser().absolute())


def is_folder(path: str) -> bool:
  """Whether there is a folder at an absolute path or URL."""
  if not is_url(path):
    return Path(path).is_dir()
  system, inner = _storage(path)
  return system.isdir(inner)


def pattern_of(path: str) -> str:
  """The glob that finds what a path means: a folder means all below it."""
  path = absolute(path)
  if is_folder(path):
    return f'{glob.escape(path)}{BELOW}'
  return path


def list_files(patterns: Iterable[str]) -> dict[str, list[int | str]]:
  """Lists the files that globs match (`**` crosses folders).

  Args:
    patterns: as `pattern_of` makes them.

  Returns:
    Path or URL to [size in bytes, modification time in ns or, of remote files,
    whatever their storage changes with them], in order of paths.

  Raises:
    UserError: a storage that is not known, or whose package is not installed.
  """
  files: dict[str, list[int | str]] = {}
  for pattern in patterns:
    found = _list_remote(pattern) if is_url(pattern) else _list_local(pattern)
    if pattern.endswith(BELOW):
      found = {path: about for path, about in found.items() if is_data(path)}
    files |= found
  return dict(sorted(files.items()))


def open_binary(path: str) -> BinaryIO:
  """Opens a file or URL to be read as it is stored."""
  if not is_url(path):
    return open(path, 'rb', buffering=_BUFFER)
  system, inner = _storage(path)
  return io.BufferedReader(system.open(inner, 'rb'), _BUFFER)


def read_range(path: str, start: int, stop: int) -> bytes:
  """Bytes [start, stop) of a file or URL."""
  if is_url(path):
    system, inner = _storage(path)
    return system.cat_file(inner, start=start, end=stop)
  with open(path, 'rb', buffering=0) as file:
    file.seek(start)
    return file.read(stop - start)


def copy_here(path: str, target: str) -> None:
  """Copies the file of a URL to a local path."""
  system, inner = _storage(path)
  system.get_file(inner, target)


def _list_local(pattern: str) -> dict[str, list[int | str]]:
  files = {}
  # A name may hold the signs of a glob.
  paths = [pattern] if Path(pattern).is_file() else None
  for path in paths or glob.iglob(pattern, recursive=True):
    if Path(path).is_file():
      status = Path(path).stat()
      files[path] = [status.st_size, status.st_mtime_ns]
  return files


def _list_remote(pattern: str) -> dict[str, list[int | str]]:
  system, inner = _storage(pattern)
  system.invalidate_cache()  # files may have come since it was last asked
  if not glob.has_magic(inner) or system.isfile(inner):
    found = {inner: system.info(inner)} if system.exists(inner) else {}
  else:
    found = system.glob(inner, detail=True)
    if inner.endswith(BELOW):  # as globs of local paths do
      depth = inner.count('/') - BELOW.count('/')
      found = {path: found[path] for path in found if not _hidden(path, depth)}
  files = {}
  for path, about in found.items():
    if about['type'] == 'file':
      version = next((about[key] for key in _VERSIONS if about.get(key)), '')
      files[system.unstrip_protocol(path)] = [about['size'], str(version)]
  return files


def _hidden(path: str, depth: int) -> bool:
  names = path.split('/')[depth + 1 :]
  return any(name.startswith('.') for name in names)


def _storage(url: str) -> tuple[Any, str]:
  """The file system of a URL, and the path in it."""
  import fsspec

  try:
    return fsspec.core.url_to_fs(url)
  except ImportError as error:
    raise UserError(f'{url}: {error}') from error
  except ValueError as error:  # fsspec has no other for a storage not known
    raise UserError(f'{url}: {error}') from error
