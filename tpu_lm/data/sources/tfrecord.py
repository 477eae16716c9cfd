"""TFRecord files (tensorflow/core/lib/io/record_writer.h)."""

import struct
from collections.abc import Iterator
from typing import Any

from tpu_lm.data.document import BadRecord
from tpu_lm.data.sources.parsing import parse_serialized
from tpu_lm.data.sources.parts import Bad, Damaged, Part, Place
from tpu_lm.data.sources.streams import open_stream


def split(path: str, size: int, target: int) -> list[tuple[Part, int]]:
  """A record is found by the length of the one before: one part."""
  del target
  return [(Part(path), size)]


def read(
  part: Part, fields: tuple[str, ...], bad: Bad
) -> Iterator[tuple[Place, dict[str, Any]]]:
  """Reads records; a checksum that fails is told.

  A record is its length (u64), the length's checksum (u32), the data, and
  their checksum (u32), all little-endian.
  """
  number = 0
  with open_stream(part.path) as stream:
    while head := stream.read(12):
      number += 1
      place = Place(part.path, 'record', number)
      if len(head) < 12:
        raise Damaged(f'{place}: the file ends within its length')
      if _checksum(head[:8]) != _number(head[8:]):
        raise Damaged(f'{place}: the checksum of its length is wrong')
      (length,) = struct.unpack('<Q', head[:8])
      data = stream.read(length)
      foot = stream.read(4)
      if len(foot) < 4:
        raise Damaged(f'{place}: the file ends within it')
      try:
        if _checksum(data) != _number(foot):
          raise BadRecord('its checksum is wrong')
        record = parse_serialized(data, fields)
      except BadRecord as error:
        bad(place, error)
      else:
        yield place, record


def _checksum(data: bytes) -> int:
  """CRC-32C, rotated and shifted by a constant as the format wants it."""
  import google_crc32c

  crc = google_crc32c.value(data)
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _number(data: bytes) -> int:
  return struct.unpack('<I', data)[0]
