"""Writing a token store: all of it or nothing, once however many ask."""

import array
import contextlib
import dataclasses
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from tpu_lm.checks import UserError
from tpu_lm.data.dependencies import Dependencies
from tpu_lm.data.store import (
  DOCUMENTS,
  PARTIAL,
  Manifest,
  TokenStore,
  store_directories,
)

CHUNK_TOKENS = 2**26


@dataclasses.dataclass(frozen=True)
class StoreHeader:
  """What is known of a store before its first document.

  Attributes:
    task: name of the task.
    split: name of the split.
    vocabulary_size: every token must be below it.
    vocabulary: a description of the vocabulary, and its hash.
    dependencies: what it is built from.
    chunk_tokens: tokens in each chunk file but the last.
  """

  task: str
  split: str
  vocabulary_size: int
  vocabulary: dict[str, str] = dataclasses.field(default_factory=dict)
  dependencies: Dependencies = Dependencies()
  chunk_tokens: int = CHUNK_TOKENS


def write_store(
  directory: Path | str, header: StoreHeader, documents: Iterable[np.ndarray]
) -> TokenStore:
  """Writes the documents into a new store, unless it is there already.

  The files are written beside it and renamed together, so a store that can be
  read is whole; what a killed process left is removed. Of two processes that
  write the same store the second waits, then reads what the first wrote.

  Args:
    directory: of the store, named SPLIT-<hash>.
    header: what goes into the manifest.
    documents: token numbers, int[length] each; empty ones are left out.

  Returns:
    The store.

  Raises:
    UserError: there are no tokens, or one is not in the vocabulary.
  """
  directory = Path(directory)
  directory.parent.mkdir(parents=True, exist_ok=True)
  with _lock(directory.parent / f'{header.split}.lock'):
    if not directory.exists():
      for other in store_directories(directory.parent, header.split):
        if other.suffix == PARTIAL:
          shutil.rmtree(other)
      partial = directory.with_name(directory.name + PARTIAL)
      partial.mkdir()
      _write(partial, header, documents)
      partial.rename(directory)
  return TokenStore(directory)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
  """Holds a lock that the system lets go of when the process dies."""
  with path.open('w') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield


def _write(
  directory: Path, header: StoreHeader, documents: Iterable[np.ndarray]
) -> None:
  dtype = np.min_scalar_type(header.vocabulary_size - 1).newbyteorder('<')
  offsets = array.array('q', [0])
  content = hashlib.blake2b(
    f'{header.vocabulary_size} {header.vocabulary}'.encode(), digest_size=16
  )
  chunks = _Chunks(directory, header.chunk_tokens)
  for document in documents:
    document = np.asarray(document)
    if not document.size:
      continue
    _check(document, header)
    stored = document.astype(dtype)
    content.update(stored)
    chunks.append(stored)
    offsets.append(offsets[-1] + len(stored))
  chunks.close()
  if not offsets[-1]:
    raise UserError(f'{header.task}: split {header.split!r} has no tokens')
  stored_offsets = np.array(offsets, '<i8')
  content.update(stored_offsets)
  with (directory / DOCUMENTS).open('wb') as file:
    file.write(stored_offsets)
    _to_disk(file)
  header.dependencies.write(directory)
  Manifest(
    task=header.task,
    split=header.split,
    num_tokens=offsets[-1],
    num_documents=len(offsets) - 1,
    vocabulary_size=header.vocabulary_size,
    dtype=dtype.name,
    chunk_tokens=header.chunk_tokens,
    vocabulary=header.vocabulary,
    fingerprint=content.hexdigest(),
  ).write(directory)


def _check(document: np.ndarray, header: StoreHeader) -> None:
  low, high = int(document.min()), int(document.max())
  if low < 0 or high >= header.vocabulary_size:
    raise UserError(
      f'{header.task}: token {low if low < 0 else high} is not in its'
      f' vocabulary of {header.vocabulary_size}'
    )


class _Chunks:
  """Files of `size` tokens, each full but the last."""

  def __init__(self, directory: Path, size: int):
    self._directory = directory
    self._size = size
    self._count = 0
    self._room = 0
    self._file = None

  def append(self, tokens: np.ndarray) -> None:
    while tokens.size:
      if not self._room:
        self.close()
        name = f'tokens-{self._count:05d}.bin'
        self._file = (self._directory / name).open('wb')
        self._count += 1
        self._room = self._size
      part, tokens = tokens[: self._room], tokens[self._room :]
      self._file.write(part)
      self._room -= len(part)

  def close(self) -> None:
    if self._file is not None:
      _to_disk(self._file)
      self._file.close()
      self._file = None


def _to_disk(file) -> None:
  """Waits until the bytes are on the disk: a rename may overtake them."""
  file.flush()
  os.fsync(file.fileno())
