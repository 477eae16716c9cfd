"""Reads tf.train.Example without TensorFlow.

The messages are a few fields deep, see tensorflow/core/example/*.proto; their
encoding is https://protobuf.dev/programming-guides/encoding.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Any

from tpu_lm.data.document import BadRecord

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def parse_example(data: bytes, fields: Iterable[str]) -> dict[str, Any]:
  """Parses a serialized tf.train.Example.

  Args:
    data: the message.
    fields: names of the features that are needed.

  Returns:
    Every feature's name; the value of those that are needed, None for the
    others. One value stands for itself, several or none are a list. Bytes are
    text: the format does not tell them apart.

  Raises:
    BadRecord: not a tf.train.Example, or a needed feature is not UTF-8.
  """
  fields = set(fields)
  record: dict[str, Any] = {}
  try:
    for entry in _messages(memoryview(data), 1, 1):
      name = b''.join(_messages(entry, 1)).decode()
      record[name] = None
      if name in fields:
        values = _values(entry, name)
        record[name] = values[0] if len(values) == 1 else values
  except (IndexError, ValueError, struct.error) as error:
    if isinstance(error, BadRecord):
      raise
    raise BadRecord(
      f'neither a tf.train.Example nor a JSON object: {error}'
    ) from error
  return record


def _values(entry: memoryview, name: str) -> list[Any]:
  values: list[Any] = []
  for value in _messages(entry, 2, 1, 1):
    try:
      values.append(str(value, 'utf-8'))
    except UnicodeDecodeError as error:
      raise BadRecord(
        f'feature {name!r} is not UTF-8 at byte {error.start}'
      ) from error
  for feature in _messages(entry, 2):
    for number, kind, value in _fields(feature):
      if number == 2 and kind == _BYTES:
        values += _floats(value)
      elif number == 3 and kind == _BYTES:
        values += _integers(value)
  return values


def _floats(data: memoryview) -> Iterator[float]:
  for number, kind, value in _fields(data):
    if number == 1 and kind in (_BYTES, _FIXED32):  # packed, or one by one
      yield from struct.unpack(f'<{len(value) // 4}f', value)


def _integers(data: memoryview) -> Iterator[int]:
  for number, kind, value in _fields(data):
    if number == 1 and kind == _VARINT:
      yield _signed(value)
    elif number == 1 and kind == _BYTES:
      position = 0
      while position < len(value):
        integer, position = _varint(value, position)
        yield _signed(integer)


def _messages(data: memoryview, *path: int) -> Iterator[memoryview]:
  """The values of the length-delimited fields at a path of numbers."""
  first, *rest = path
  for number, kind, value in _fields(data):
    if number == first and kind == _BYTES:
      if rest:
        yield from _messages(value, *rest)
      else:
        yield value


def _fields(data: memoryview) -> Iterator[tuple[int, int, Any]]:
  """Field number, wire type and value of each field of a message."""
  position = 0
  while position < len(data):
    tag, position = _varint(data, position)
    kind = tag & 7
    if kind == _VARINT:
      value, position = _varint(data, position)
    elif kind in (_FIXED64, _FIXED32, _BYTES):
      size = {_FIXED64: 8, _FIXED32: 4}.get(kind)
      if size is None:
        size, position = _varint(data, position)
      value = data[position : position + size]
      position += size
      if len(value) < size:
        raise ValueError('it ends within a value')
    else:
      raise ValueError(f'wire type {kind} is not known')
    yield tag >> 3, kind, value


def _varint(data: memoryview, position: int) -> tuple[int, int]:
  value = shift = 0
  while True:
    byte = data[position]
    position += 1
    value |= (byte & 0x7F) << shift
    shift += 7
    if byte < 0x80:
      return value, position
    if shift > 63:
      raise ValueError('a number is too long')


def _signed(value: int) -> int:
  return value - (1 << 64) if value >> 63 else value
