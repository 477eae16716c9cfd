"""What a token store says of itself."""

import dataclasses
import json
from typing import Any

import numpy as np

from tpu_lm.checks import UserError, read_fields
from tpu_lm.data.folder import Folder

FORMAT = 2
DTYPES = ('uint8', 'uint16', 'uint32')
MANIFEST = 'manifest.json'
DOCUMENTS = 'documents.bin'


@dataclasses.dataclass(frozen=True)
class Manifest:
  """What a store says of itself.

  Attributes:
    task: name of the task.
    split: name of the split.
    num_tokens: tokens of all documents.
    num_documents: documents, none of them empty.
    num_bytes: bytes of the documents' text in UTF-8.
    vocabulary_size: every token is below it.
    dtype: name of the stored unsigned integer type.
    vocabulary: a description of the vocabulary, and its hash.
    whole: documents are examples that are packed whole, never cut.
    masked: some tokens carry no loss; the store says which.
    pieces: for each shard of the source, the tokens of each of its files.
    counts: what was left out on the way: 'empty' documents, 'bad' records.
    contamination: what was found of evaluation sets, see contamination.py.
    fingerprint: hash of the content: tokens, document bounds, loss and
      vocabulary; how documents are cut into shards does not change it.
    format: version of this layout.
  """

  task: str
  split: str
  num_tokens: int
  num_documents: int
  num_bytes: int
  vocabulary_size: int
  dtype: str
  vocabulary: dict[str, str]
  whole: bool
  masked: bool
  pieces: list[list[int]]
  counts: dict[str, int]
  contamination: dict[str, Any]
  fingerprint: str
  format: int = FORMAT

  @classmethod
  def read(cls, folder: Folder) -> 'Manifest | None':
    """Reads `manifest.json`.

    Returns:
      None if there is none, or one of another format.

    Raises:
      UserError: it is damaged.
    """
    try:
      [content] = folder.read([MANIFEST])
    except FileNotFoundError:
      return None
    try:
      fields = json.loads(content)
      if fields['format'] != FORMAT:
        return None
      manifest = read_fields(cls, fields)
      manifest._check()
      return manifest
    except (ValueError, TypeError, KeyError, RecursionError):
      raise UserError(
        f'{folder.url}/{MANIFEST} is damaged: delete it, and the store is'
        ' built again'
      ) from None

  def _check(self) -> None:
    """Raises ValueError unless the numbers agree with each other."""
    parts = [tokens for parts in self.pieces for tokens in parts]
    good = min(parts, default=0) >= 0 and self.num_tokens == sum(parts)
    good = good and 0 < self.num_documents <= self.num_tokens
    good = good and self.vocabulary_size > 0
    if not (good and self.dtype in DTYPES):
      raise ValueError('numbers that do not agree')

  def files(self) -> dict[str, int]:
    """Every file of tokens and of loss flags, with its size in bytes."""
    sizes = {'tokens': np.dtype(self.dtype).itemsize}
    if self.masked:
      sizes['loss'] = 1
    return {
      part_name(kind, shard, part): tokens * size
      for kind, size in sizes.items()
      for shard, parts in enumerate(self.pieces)
      for part, tokens in enumerate(parts)
    }

  def check_files(self, folder: Folder) -> None:
    """Raises UserError if a file is missing or of another size."""
    found = folder.sizes()
    expected = self.files()
    expected[DOCUMENTS] = 8 * (self.num_documents + 1)
    for name, size in expected.items():
      path = f'{folder.url}/{name}'
      again = 'delete the folder, and it is built again'
      if name not in found:
        raise UserError(f'{path} is missing: {again}')
      if found[name] not in (None, size):
        raise UserError(
          f'{path} has {found[name]:,} bytes instead of {size:,}: {again}'
        )


def part_name(kind: str, shard: int, part: int) -> str:
  """Name of a file of a shard, such as tokens-00012-000.bin."""
  return f'{kind}-{shard:05d}-{part:03d}.bin'
