"""The file of a vocabulary's model, on a disk or on object storage."""

import hashlib
from pathlib import Path

from tpu_lm.checks import UserError


def read(key: str, path: str) -> bytes:
  """Reads a model's file.

  Args:
    key: the gin key of the path.
    path: a path or a URL that fsspec knows.

  Returns:
    The file's bytes.

  Raises:
    UserError: it is missing or can't be read.
  """
  import fsspec

  try:
    with fsspec.open(path, 'rb') as file:
      return file.read()
  except FileNotFoundError as error:
    raise UserError(f'{key} = {path!r}: there is no such file') from error
  except (OSError, ImportError, ValueError) as error:
    raise UserError(f'{key} = {path!r}: can not be read: {error}') from error


def stamp(path: str) -> tuple[int, int] | None:
  """Size and modification time (ns) of a local file; None for a URL.

  Models are cached by path and stamp, so that a file which changes while a
  process runs is seen. A remote one is read once a process.
  """
  if '://' in path:
    return None
  try:
    status = Path(path).expanduser().stat()
  except OSError:
    return None  # `read` tells what is wrong
  return status.st_size, status.st_mtime_ns


def name(path: str) -> str:
  """The file's own name, for descriptions."""
  return path.rstrip('/').rsplit('/', 1)[-1]


def digest(*facts: str | bytes) -> str:
  """Hashes facts, in order: 32 hexadecimal digits."""
  parts = [fact.encode() if isinstance(fact, str) else fact for fact in facts]
  found = hashlib.blake2b(digest_size=16)
  for part in parts:
    # With its length before each, no two lists of facts run together.
    found.update(len(part).to_bytes(8, 'little') + part)
  return found.hexdigest()
