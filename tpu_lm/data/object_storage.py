"""Folders in object storage, through TensorStore's key-value stores."""

import contextlib
import functools
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tpu_lm.checks import UserError
from tpu_lm.data.folder import Request
from tpu_lm.data.local_storage import replace_file

# Where copies of small files are kept that are read at random, bit by bit.
COPIES = '~/.cache/tpu_lm/indexes'
COPY_BYTES = 2**26


class RemoteFolder:
  """A folder of object storage, read and written through TensorStore.

  It tries again by itself where a request fails for a passing reason.
  """

  def __init__(self, url: str):
    """Names the folder; objects have no folders that need making."""
    import tensorstore

    self.url = url.rstrip('/')
    try:
      self._files = tensorstore.KvStore.open(
        self.url + '/', context=_context()
      ).result()
    except ValueError as error:
      raise UserError(f'{url}: {error}') from None

  def sizes(self, prefix: str = '') -> dict[str, int | None]:
    """See `Folder`."""
    import tensorstore

    stop = prefix and prefix[:-1] + chr(ord(prefix[-1]) + 1)
    keys = tensorstore.KvStore.KeyRange(prefix, stop)
    with self._told():
      found = self._files.list(keys).result()
    return dict.fromkeys(sorted(key.decode() for key in found))

  def read(self, names: Sequence[str]) -> list[bytes]:
    """See `Folder`."""
    with self._told():
      asked = [self._files.read(name) for name in names]
      return [self._value(n, f.result()) for n, f in zip(names, asked)]

  def read_ranges(self, requests: Sequence[Request]) -> list[bytes]:
    """See `Folder`."""
    with self._told():
      asked = [
        self._files.read(name, byte_range=slice(start, stop))
        for name, start, stop in requests
      ]
      return [self._value(r[0], f.result()) for r, f in zip(requests, asked)]

  def write(self, name: str, content: bytes) -> None:
    """See `Folder`."""
    with self._told():
      self._files.write(name, content).result()

  def delete(self, names: Sequence[str]) -> None:
    """See `Folder`."""
    with self._told():
      for asked in [self._files.write(name, None) for name in names]:
        asked.result()

  def clear(self) -> None:
    """See `Folder`."""
    import tensorstore

    with self._told():
      self._files.delete_range(tensorstore.KvStore.KeyRange()).result()

  def clean(self) -> None:
    """See `Folder`; an object is never half-written."""

  def local_copy(self, name: str, size: int, version: str) -> Path:
    """See `Folder`."""
    place = hashlib.sha256(f'{self.url} {name} {version}'.encode()).hexdigest()
    path = Path(COPIES).expanduser() / place[:32]
    if not path.exists():
      replace_file(path, self._stretches(name, size))
    return path

  def lock(self, name: str, note: str) -> contextlib.AbstractContextManager:
    """See `Folder`."""
    return contextlib.nullcontext()

  def _stretches(self, name: str, size: int) -> Iterator[bytes]:
    for start in range(0, size, COPY_BYTES):
      request = name, start, min(start + COPY_BYTES, size)
      yield from self.read_ranges([request])

  def _value(self, name: str, result: Any) -> bytes:
    if result.state != 'value':
      raise FileNotFoundError(f'{self.url}/{name} is not there')
    return result.value

  @contextlib.contextmanager
  def _told(self) -> Iterator[None]:
    """TensorStore raises ValueError for whatever the storage refuses."""
    try:
      yield
    except ValueError as error:
      if 'OUT_OF_RANGE' in str(error):
        raise OSError(f'{self.url}: a file is too short: {error}') from None
      raise UserError(f'{self.url}: {error}') from None


@functools.cache
def _context() -> Any:
  """One for all: what memory:// holds belongs to a context."""
  import tensorstore

  return tensorstore.Context()
