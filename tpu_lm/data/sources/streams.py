"""Reads files from their start on, through their compression."""

import contextlib
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from tpu_lm.data.sources.kinds import kind_of
from tpu_lm.data.sources.listing import open_binary
from tpu_lm.data.sources.parts import Damaged

BYTE_ORDER_MARK = b'\xef\xbb\xbf'
_BUFFER = 1 << 20
_CHUNK = 1 << 17  # what comes of it is held whole, and may be much more
_DAMAGE = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error)


@contextlib.contextmanager
def open_stream(path: str) -> Iterator[BinaryIO]:
  """Opens a file or URL as what it holds.

  A compressed file may be several streams laid end to end, as `cat` and
  parallel compressors make them.

  Args:
    path: its suffix tells the compression.

  Yields:
    The stream, which is buffered. It can be sought where nothing is
    compressed.

  Raises:
    Damaged: the compressed data are broken off or changed.
  """
  kind = kind_of(path)
  decompress = _OPENERS[kind[1] if kind else '']
  with open_binary(path) as stored:
    try:
      with decompress(stored) as stream:
        yield stream
    except _DAMAGE as error:
      raise Damaged(f'{path}: damaged: {error}') from error


def _gz(stored: BinaryIO) -> BinaryIO:
  # Without a buffer around it each line would cost a call in Python.
  return io.BufferedReader(_Little(gzip.GzipFile(fileobj=stored)), _BUFFER)


def _xz(stored: BinaryIO) -> BinaryIO:
  return io.BufferedReader(_Little(lzma.LZMAFile(stored)), _BUFFER)


def _zst(stored: BinaryIO) -> BinaryIO:
  return io.BufferedReader(_Zstandard(stored), _BUFFER)


class _Little(io.RawIOBase):
  """Gives what it has at once, so that of a broken file nothing is lost."""

  def __init__(self, stream: BinaryIO):
    self._stream = stream

  def readable(self) -> bool:
    return True

  def readinto(self, buffer: memoryview) -> int:
    data = self._stream.read1(len(buffer))
    buffer[: len(data)] = data
    return len(data)


class _Zstandard(io.RawIOBase):
  """Decompresses zstd; unlike the library's reader it tells a broken end."""

  def __init__(self, stored: BinaryIO):
    import zstandard

    # Files made with `zstd --long=31` need the largest window.
    self._decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)
    self._error = zstandard.ZstdError
    self._stored = stored
    self._frame = None
    self._rest = b''
    self._out = memoryview(b'')

  def readable(self) -> bool:
    return True

  def readinto(self, buffer: memoryview) -> int:
    while not self._out:
      data = self._rest or self._stored.read(_CHUNK)
      self._rest = b''
      if not data:
        if self._frame is not None:
          raise EOFError('it ends within a zstd frame')
        return 0
      self._frame = self._frame or self._decompressor.decompressobj()
      try:
        self._out = memoryview(self._frame.decompress(data))
      except self._error as error:
        raise EOFError(str(error)) from error
      if self._frame.eof:
        self._rest = self._frame.unused_data
        self._frame = None
    count = min(len(buffer), len(self._out))
    buffer[:count] = self._out[:count]
    self._out = self._out[count:]
    return count


_OPENERS = {'': contextlib.nullcontext, '.gz': _gz, '.xz': _xz, '.zst': _zst}
