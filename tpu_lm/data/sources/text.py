"""Text files: each is one document."""

from collections.abc import Iterator
from typing import Any

from tpu_lm.data.sources.parts import Bad, Part, Place
from tpu_lm.data.sources.streams import BYTE_ORDER_MARK, open_stream


def split(path: str, size: int, target: int) -> list[tuple[Part, int]]:
  """A document is not cut."""
  del target
  return [(Part(path), size)]


def read(
  part: Part, fields: tuple[str, ...], bad: Bad
) -> Iterator[tuple[Place, dict[str, Any]]]:
  """Yields one record, {'text': all of the file}."""
  del fields
  place = Place(part.path)
  with open_stream(part.path) as stream:
    data = stream.read()
  try:
    text = data.removeprefix(BYTE_ORDER_MARK).decode()
  except UnicodeDecodeError as error:
    bad(place, f'not UTF-8 at byte {error.start}')
  else:
    yield place, {'text': text}
