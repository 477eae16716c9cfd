"""Cuts files into shards of about equal size: what one worker reads."""

from collections.abc import Mapping

from tpu_lm.data.sources.formats import reader_of
from tpu_lm.data.sources.kinds import kind_of
from tpu_lm.data.sources.parts import Part, Shard

TARGET = 64 << 20
EXPANSION = 3  # of compressed text, so that time left can be told; a guess


def make_shards(files: Mapping[str, int], target: int = TARGET) -> list[Shard]:
  """Groups small files and cuts large ones.

  Args:
    files: path to size in bytes, in the order they are read.
    target: bytes of a shard as stored; one has more where a file can't be cut.

  Returns:
    At least one shard if there are files. The same for the same files.
  """
  pieces = []
  for path, size in files.items():
    if size <= target:
      pieces.append((Part(path), size))
    else:
      pieces += reader_of(path).split(path, size, target)
  shards: list[Shard] = []
  parts: list[Part] = []
  held = text = 0
  for part, size in pieces:
    if parts and held + size > target:
      shards.append(Shard(tuple(parts), text))
      parts, held, text = [], 0, 0
    parts.append(part)
    held += size
    text += size * (EXPANSION if kind_of(part.path)[1] else 1)
  return [*shards, Shard(tuple(parts), text)] if parts else shards
