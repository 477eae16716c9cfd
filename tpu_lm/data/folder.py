"""What is asked of a place where files are kept.

A file is written whole or not at all, never changed afterwards, and read in
stretches. What is kept here needs no more than that, so a disk, a bucket and
the memory of a test serve alike.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

Request = tuple[str, int, int]


class Folder(Protocol):
  """A folder; a name is a path below it, its parts joined by '/'.

  All methods may be called from several threads at once. Reading what is not
  there raises FileNotFoundError, reading beyond the end of a file OSError;
  storage that refuses (no such bucket, no permission, a full disk) raises
  UserError.

  Attributes:
    url: where it is: a path, or a URL without a slash at its end.
  """

  url: str

  def sizes(self, prefix: str = '') -> dict[str, int | None]:
    """Files whose name starts with `prefix`: sorted names to bytes.

    The size is None in object storage, where it would cost a request a file.
    """

  def read(self, names: Sequence[str]) -> list[bytes]:
    """The bytes of whole files, read at the same time where that is faster."""

  def read_ranges(self, requests: Sequence[Request]) -> list[bytes]:
    """The bytes start to stop - 1 of each (name, start, stop)."""

  def write(self, name: str, content: bytes) -> None:
    """Writes a file: all of it, or nothing if the process dies."""

  def delete(self, names: Sequence[str]) -> None:
    """Deletes files; one that is not there is no error."""

  def clear(self) -> None:
    """Deletes the folder with all that is in it."""

  def clean(self) -> None:
    """Removes what killed processes left of files they were writing."""

  def local_copy(self, name: str, size: int, version: str) -> Path:
    """A path on this machine with the same bytes.

    Args:
      name: of the file.
      size: its bytes.
      version: changes when the file's content does; names the copy.
    """

  def lock(self, name: str, note: str) -> contextlib.AbstractContextManager:
    """Holds a lock that is let go of when the process dies.

    Object storage has no locks: there everybody holds it at once.

    Args:
      name: of the lock.
      note: told to the user if another process has the lock.
    """
