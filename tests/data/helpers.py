"""Small stores and a corpus of them, with no seqio."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tpu_lm.data.corpus import Corpus
from tpu_lm.data.store import TokenStore
from tpu_lm.data.writer import StoreHeader, write_store

Documents = str | Sequence[str] | Sequence[Sequence[int]]


def tiny_store(
  store_dir: Path | str,
  task: str,
  documents: Documents,
  split: str = 'train',
  vocabulary_size: int = 259,
  chunk_tokens: int = 1000,
) -> TokenStore:
  """Writes a store of a few documents.

  Args:
    store_dir: as of `Corpus`.
    task: its name.
    documents: texts (as bytes + 3, then the end token 1, like seqio's byte
      vocabulary), or token numbers.
    split: its name.
    vocabulary_size: every token is below it.
    chunk_tokens: small, so that rows cross the ends of files.

  Returns:
    The store, where `Corpus(store_dir=...)` finds it.
  """
  if isinstance(documents, str):
    documents = [documents]
  return write_store(
    Path(store_dir) / task / f'{split}-tiny',
    StoreHeader(task, split, vocabulary_size, chunk_tokens=chunk_tokens),
    [_tokens(document) for document in documents],
  )


def tiny_corpus(
  store_dir: Path | str,
  train: Mapping[str, Documents],
  validation: Mapping[str, Documents] | None = None,
  vocabulary_size: int = 259,
) -> Corpus:
  """Writes stores for both splits of each task and serves them.

  Args:
    store_dir: a folder of this test's own.
    train: task to documents, as of `tiny_store`.
    validation: the same; the training documents where it has none.
    vocabulary_size: of all of them.

  Returns:
    A real corpus, which finds these stores as it finds built ones.
  """
  for task, documents in train.items():
    held_out = (validation or {}).get(task, documents)
    tiny_store(store_dir, task, documents, 'train', vocabulary_size)
    tiny_store(store_dir, task, held_out, 'validation', vocabulary_size)
  return Corpus(store_dir=str(store_dir))


def counting_documents(
  documents: int, length: int, start: int = 2
) -> list[np.ndarray]:
  """Documents of token numbers that all differ, so rows can be recognised."""
  numbers = np.arange(start, start + documents * length)
  return list(numbers.reshape(documents, length))


def _tokens(document: str | Sequence[int]) -> np.ndarray:
  if isinstance(document, str):
    return np.array([*(byte + 3 for byte in document.encode()), 1])
  return np.asarray(document)
