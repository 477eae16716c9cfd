"""Writing a token store: a piece for each shard of its source.

Pieces are written by any number of processes, in any order, again if need be:
the same shard gives the same bytes. A piece is there when its JSON file is.
"""

import array
import dataclasses
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from tpu_lm.checks import UserError, read_fields
from tpu_lm.data.contamination import Contamination
from tpu_lm.data.content_hash import chain, digest
from tpu_lm.data.dependencies import Dependencies
from tpu_lm.data.document import Document
from tpu_lm.data.folder import Folder
from tpu_lm.data.manifest import part_name

# A shard of more bytes of tokens than this gets several files, so that what a
# writer holds in memory is bounded. They are cut between documents.
PART_BYTES = 2**27


@dataclasses.dataclass(frozen=True)
class StoreHeader:
  """What is known of a store before its first document.

  Attributes:
    task: name of the task.
    split: name of the split.
    vocabulary_size: every token must be below it.
    vocabulary: a description of the vocabulary, and its hash.
    dependencies: what it is built from.
    whole: documents are examples that are packed whole, never cut.
    masked: documents say which of their tokens carry loss.
  """

  task: str
  split: str
  vocabulary_size: int
  vocabulary: dict[str, str] = dataclasses.field(default_factory=dict)
  dependencies: Dependencies = Dependencies()
  whole: bool = False
  masked: bool = False

  @property
  def dtype(self) -> np.dtype:
    """The smallest unsigned integers that hold the tokens, little-endian."""
    return np.min_scalar_type(self.vocabulary_size - 1).newbyteorder('<')


def piece_name(shard: int) -> str:
  """Name of the file that says that a shard is done."""
  return f'piece-{shard:05d}.json'


def lengths_name(shard: int) -> str:
  """Name of a shard's document lengths, i64, kept until the store is done."""
  return f'lengths-{shard:05d}.bin'


def write_piece(
  folder: Folder,
  shard: int,
  header: StoreHeader,
  documents: Iterable[Document | None],
  counts: Counter[str],
  contamination: Contamination | None = None,
) -> dict[str, Any]:
  """Writes the piece of one shard.

  Args:
    folder: of the store.
    shard: number of the shard.
    header: what is known of the store.
    documents: of the shard; None and those of no tokens are counted as empty.
    counts: what `documents` counts while it is run through; 'empty' is added.
    contamination: evaluation sets to look for in the texts.

  Returns:
    What the piece's JSON file holds: tokens of each file, documents, bytes of
    text, counts, hash and contamination.

  Raises:
    UserError: a token is not in the vocabulary.
  """
  piece = _Piece(folder, shard, header)
  overlap = contamination.counter() if contamination else None
  for document in documents:
    if document is None or not len(document.tokens):
      counts['empty'] += 1
      continue
    piece.add(document)
    if overlap:
      overlap.add(document.text)
  record = {
    **piece.finish(),
    'counts': dict(sorted(counts.items())),
    'contamination': overlap.result() if overlap else {},
  }
  folder.write(piece_name(shard), to_json(record))
  return record


def done_pieces(
  folder: Folder, contamination: Contamination | None
) -> dict[int, dict[str, Any]]:
  """The pieces that are there, with the same evaluation sets looked for.

  Args:
    folder: of the store.
    contamination: evaluation sets that are looked for now.

  Returns:
    Number of the shard to what the piece's JSON file holds.
  """
  files = folder.sizes()
  names = [name for name in files if name.startswith('piece-')]
  sought = _sought(contamination.counter().result() if contamination else {})
  pieces = {}
  for name, content in zip(names, folder.read(names)):
    shard = int(name.removeprefix('piece-').removesuffix('.json'))
    try:
      record = vars(read_fields(_Record, json.loads(content)))
      same = _sought(record['contamination']) == sought
    except (KeyError, RecursionError, TypeError, ValueError):
      raise UserError(
        f'{folder.url}/{name} is damaged: delete it, and the shard is built'
        ' again'
      ) from None
    if same and lengths_name(shard) in files:
      pieces[shard] = record
  return pieces


class _Piece:
  """What is being written of one shard."""

  def __init__(self, folder: Folder, shard: int, header: StoreHeader):
    self._folder = folder
    self._shard = shard
    self._header = header
    self._lengths = array.array('q')
    self._bytes = 0
    self._hash = 0
    self._parts: list[int] = []  # tokens of the files that are written
    self._tokens: list[bytes] = []  # of the file that is not
    self._loss: list[bytes] = []
    self._held = 0

  def add(self, document: Document) -> None:
    tokens = np.asarray(document.tokens)
    _check(tokens, self._header)
    stored = tokens.astype(self._header.dtype).tobytes()
    loss = self._loss_of(document)
    self._hash = chain(self._hash, digest(stored + loss), 1)
    self._bytes += len(document.text.encode())
    self._lengths.append(len(tokens))
    self._tokens.append(stored)
    self._loss.append(loss)
    self._held += len(stored)
    if self._held >= PART_BYTES:
      self._write_part()

  def finish(self) -> dict[str, Any]:
    if self._held:
      self._write_part()
    lengths = np.array(self._lengths, '<i8').tobytes()
    self._folder.write(lengths_name(self._shard), lengths)
    return {
      'tokens': self._parts,
      'documents': len(self._lengths),
      'bytes': self._bytes,
      'hash': f'{self._hash:032x}',
    }

  def _loss_of(self, document: Document) -> bytes:
    if not self._header.masked:
      assert document.loss is None, 'its header says that nothing is masked'
      return b''
    if document.loss is None:
      return b'\1' * len(document.tokens)
    assert len(document.loss) == len(document.tokens)
    return np.asarray(document.loss, bool).tobytes()

  def _write_part(self) -> None:
    part = len(self._parts)
    for kind, contents in [('tokens', self._tokens), ('loss', self._loss)]:
      if kind == 'tokens' or self._header.masked:
        name = part_name(kind, self._shard, part)
        self._folder.write(name, b''.join(contents))
      contents.clear()
    self._parts.append(self._held // self._header.dtype.itemsize)
    self._held = 0


@dataclasses.dataclass(frozen=True)
class _Record:
  """What the file of a piece holds."""

  tokens: list[int]
  documents: int
  bytes: int
  hash: str
  counts: dict[str, int]
  contamination: dict[str, dict[str, Any]]

  def __post_init__(self):
    int(self.hash, 16)


def _check(document: np.ndarray, header: StoreHeader) -> None:
  low, high = int(document.min()), int(document.max())
  if low < 0 or high >= header.vocabulary_size:
    raise UserError(
      f'{header.task}: token {low if low < 0 else high} is not in its'
      f' vocabulary of {header.vocabulary_size}'
    )


def _sought(results: dict[str, Any]) -> dict[str, Any]:
  return {name: (one['n'], one['hash']) for name, one in results.items()}


def to_json(content: Any) -> bytes:
  """JSON for people, the same bytes for the same content."""
  return (json.dumps(content, indent=1, sort_keys=True) + '\n').encode()
