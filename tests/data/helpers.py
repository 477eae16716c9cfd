"""Small stores and a corpus of them, with no seqio."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tpu_lm.data.document import Document
from tpu_lm.data.finish import finish
from tpu_lm.data.sources.files import Files
from tpu_lm.data.storage import open_folder
from tpu_lm.data.store import TokenStore
from tpu_lm.data.writer import StoreHeader, write_piece

Documents = str | Sequence[str] | Sequence[Sequence[int]]


def tiny_store(
  store_dir: Path | str,
  task: str,
  documents: Documents,
  split: str = 'train',
  vocabulary_size: int = 259,
  chunk_tokens: int = 1000,
  losses: Sequence[Sequence[bool]] | None = None,
  whole: bool = False,
) -> TokenStore:
  """Writes a store of a few documents.

  Args:
    store_dir: as of `Corpus`.
    task: its name.
    documents: texts (as bytes + 3, then the end token 1, like seqio's byte
      vocabulary), or token numbers.
    split: its name.
    vocabulary_size: every token is below it.
    chunk_tokens: tokens after which a new shard is begun; small, so that rows
      cross the ends of files.
    losses: for each document, whether each token is predicted with loss;
      None: all are, and the store keeps no flags.
    whole: documents are examples that are never cut.

  Returns:
    The store, where `Corpus(store_dir=...)` finds it.
  """
  if isinstance(documents, str):
    documents = [documents]
  header = StoreHeader(
    task, split, vocabulary_size, whole=whole, masked=losses is not None
  )
  folder = open_folder(f'{store_dir}/{task}/{split}-tiny')
  flags = [None] * len(documents) if losses is None else losses
  pieces, held = [[]], 0
  for document, loss in zip(documents, flags, strict=True):
    if held >= chunk_tokens:
      pieces.append([])
      held = 0
    pieces[-1].append(_document(document, loss))
    held += len(pieces[-1][-1].tokens)
  for shard, piece in enumerate(pieces):
    write_piece(folder, shard, header, piece, Counter())
  return finish(folder, header, len(pieces))


def tiny_corpus(
  store_dir: Path | str,
  train: Mapping[str, Documents],
  validation: Mapping[str, Documents] | None = None,
  vocabulary_size: int = 259,
):
  """Writes stores for both splits of each task and serves them.

  Args:
    store_dir: a folder of this test's own.
    train: task to documents, as of `tiny_store`.
    validation: the same; the training documents where it has none.
    vocabulary_size: of all of them.

  Returns:
    A real corpus, which finds these stores as it finds built ones.
  """
  from tpu_lm.data.corpus import Corpus

  for task, documents in train.items():
    held_out = (validation or {}).get(task, documents)
    tiny_store(store_dir, task, documents, 'train', vocabulary_size)
    tiny_store(store_dir, task, held_out, 'validation', vocabulary_size)
  return Corpus(store_dir=str(store_dir))


def text_files(folder: Path, name: str, texts: Sequence[str]) -> Files:
  """Writes texts as JSON lines, for both splits of a source."""
  path = folder / f'{name}.jsonl'
  path.write_text(''.join(json.dumps({'text': t}) + '\n' for t in texts))
  return Files(name, str(path), validation_path=str(path))


def counting_documents(
  documents: int, length: int, start: int = 2
) -> list[np.ndarray]:
  """Documents of token numbers that all differ, so rows can be recognised."""
  numbers = np.arange(start, start + documents * length)
  return list(numbers.reshape(documents, length))


def _document(
  document: str | Sequence[int], loss: Sequence[bool] | None
) -> Document:
  flags = None if loss is None else np.array(loss, bool)
  if isinstance(document, str):
    tokens = np.array([*(byte + 3 for byte in document.encode()), 1])
    return Document(tokens, document, flags)
  return Document(np.asarray(document, np.int64), '', flags)
