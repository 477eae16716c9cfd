"""JSON lines, and JSON files that are one list of objects."""

import itertools
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from tpu_lm.data.document import BadRecord
from tpu_lm.data.sources.kinds import kind_of
from tpu_lm.data.sources.parsing import check_object, check_text, parse_json
from tpu_lm.data.sources.parts import Bad, Part, Place, cut_evenly
from tpu_lm.data.sources.streams import BYTE_ORDER_MARK, open_stream


def split(path: str, size: int, target: int) -> list[tuple[Part, int]]:
  """Cuts a file into byte ranges where it is not compressed."""
  if kind_of(path) != ('.jsonl', ''):
    return [(Part(path), size)]
  return cut_evenly(path, size, size, target)


def read(
  part: Part, fields: tuple[str, ...], bad: Bad
) -> Iterator[tuple[Place, dict[str, Any]]]:
  r"""Reads the lines that begin in a range of bytes.

  Lines end at \n alone: texts may hold U+2028 and other line separators. Empty
  lines are passed over. A .json file whose first sign is a bracket is read
  whole, as a list of objects.
  """
  with open_stream(part.path) as stream:
    if kind_of(part.path)[0] == '.json' and _is_list(stream):
      yield from _items(part.path, stream, fields, bad)
      return
    start = _seek_line(stream, part.start)
    end = start
    for number, line in enumerate(stream, start=1):
      if end >= part.stop >= 0:
        return
      end += len(line)
      if part.start == 0 and number == 1:
        line = line.removeprefix(BYTE_ORDER_MARK)
      line = line.strip()  # a line end would be told as part of a text
      if not line:
        continue
      place = Place(part.path, 'line', number, start)
      try:
        record = parse_json(line, fields)
      except BadRecord as error:
        bad(place, error)
      else:
        yield place, record


def _seek_line(stream: BinaryIO, start: int) -> int:
  """Goes to the first line that begins at or behind a byte."""
  if start == 0:
    return 0
  stream.seek(start - 1)
  return start - 1 + len(stream.readline())


def _is_list(stream: BinaryIO) -> bool:
  head = stream.peek(1 << 12).removeprefix(BYTE_ORDER_MARK)
  return head.lstrip()[:1] == b'['


def _items(
  path: str, stream: BinaryIO, fields: tuple[str, ...], bad: Bad
) -> Iterator[tuple[Place, dict[str, Any]]]:
  data = stream.read()
  try:
    items = json.loads(data.decode('utf-8-sig'))
  except (ValueError, RecursionError) as error:
    bad(Place(path), f'not a list in JSON: {error}')
    return
  for number, item in zip(itertools.count(1), items):
    place = Place(path, 'item', number)
    try:
      record = check_object(item)
      check_text(record, fields)
    except BadRecord as error:
      bad(place, error)
    else:
      yield place, record
