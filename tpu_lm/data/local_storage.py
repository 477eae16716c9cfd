"""Folders on a disk."""

import contextlib
import fcntl
import functools
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from tpu_lm.checks import UserError
from tpu_lm.data.folder import Request
from tpu_lm.data.progress import say
from tpu_lm.patience import may_pass, patiently

OPEN_FILES = 128
PARTIAL = '.partial'


class LocalFolder:
  """A folder on a disk, which may be another machine's.

  Reading is tried again where it fails for a passing reason.
  """

  def __init__(self, path: Path):
    """Names the folder; it is made when a file is written."""
    self.url = str(path)
    self.path = path

  def sizes(self, prefix: str = '') -> dict[str, int | None]:
    """See `Folder`."""
    found = {}
    # A store may be on another disk, behind a link.
    for folder, _, files in os.walk(self.path, followlinks=True):
      below = os.path.relpath(folder, self.path)
      for file in files:
        name = file if below == '.' else f'{below}/{file}'
        if name.startswith(prefix) and not file.endswith(PARTIAL):
          with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
            found[name] = os.stat(os.path.join(folder, file)).st_size
    return dict(sorted(found.items()))

  def read(self, names: Sequence[str]) -> list[bytes]:
    """See `Folder`."""
    paths = [self.path / name for name in names]
    return [_tried(path, path.read_bytes) for path in paths]

  def read_ranges(self, requests: Sequence[Request]) -> list[bytes]:
    """See `Folder`."""

    def read(name: str, start: int, stop: int) -> bytes:
      try:
        return _read_range(_open_file(self, name), start, stop)
      except OSError:
        _open_file.cache_clear()  # a handle may have gone stale
        raise

    return [
      _tried(self.path / request[0], lambda request=request: read(*request))
      for request in requests
    ]

  def write(self, name: str, content: bytes) -> None:
    """See `Folder`."""
    replace_file(self.path / name, [content])

  def delete(self, names: Sequence[str]) -> None:
    """See `Folder`."""
    for name in names:
      (self.path / name).unlink(missing_ok=True)

  def clear(self) -> None:
    """See `Folder`."""
    with _refusals(self.path):
      if self.path.exists():
        shutil.rmtree(self.path)

  def clean(self) -> None:
    """See `Folder`."""
    for path in self.path.rglob(f'*{PARTIAL}'):
      path.unlink()

  def local_copy(self, name: str, size: int, version: str) -> Path:
    """See `Folder`."""
    return self.path / name

  @contextlib.contextmanager
  def lock(self, name: str, note: str) -> Iterator[None]:
    """See `Folder`."""
    with _refusals(self.path / name):
      self.path.mkdir(parents=True, exist_ok=True)
      file = (self.path / name).open('w')
    with file:
      with _refusals(self.path / name):  # some network disks have no locks
        try:
          fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
          say(note)
          fcntl.flock(file, fcntl.LOCK_EX)
      yield


class _OpenFile:
  """A file descriptor that is closed when nobody has it any more.

  Hence one that falls out of the cache while another thread reads from it
  stays open until that thread is done.
  """

  def __init__(self, path: Path):
    self.path = path
    self.number = -1
    self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

  def __del__(self):
    if self.number >= 0:
      os.close(self.number)


@functools.lru_cache(OPEN_FILES)
def _open_file(folder: LocalFolder, name: str) -> _OpenFile:
  return _OpenFile(folder.path / name)


def _read_range(file: _OpenFile, start: int, stop: int) -> bytes:
  content = os.pread(file.number, stop - start, start)
  while len(content) < stop - start:  # the system reads at most 2 GiB at once
    more = os.pread(
      file.number, stop - start - len(content), start + len(content)
    )
    if not more:
      raise OSError(f'{file.path} is shorter than {stop:,} bytes')
    content += more
  return content


def replace_file(path: Path, stretches: Iterable[bytes]) -> None:
  """Writes beside a path and renames, so that it is there only if whole."""
  # Other threads and machines may be writing the same file.
  partial = path.with_name(f'.{path.name}.{uuid.uuid4().hex}{PARTIAL}')
  with _refusals(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
      with partial.open('wb') as file:
        for stretch in stretches:
          file.write(stretch)
        file.flush()
        os.fsync(file.fileno())  # a rename may overtake the bytes
      partial.replace(path)
    finally:
      partial.unlink(missing_ok=True)  # room is short where a disk is full


def _tried(path: Path, read: Callable[[], bytes]) -> bytes:
  try:
    return patiently(read)
  except OSError as error:
    if may_pass(error):
      raise UserError(f'{path} can not be read: {error}') from error
    raise


@contextlib.contextmanager
def _refusals(path: Path) -> Iterator[None]:
  """A disk that is full or may not be written to is the user's affair."""
  try:
    yield
  except OSError as error:
    raise UserError(f'{path} can not be written: {error}') from error
