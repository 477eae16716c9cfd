"""Making a token store of its pieces, when all of them are there."""

import dataclasses
from collections import Counter
from typing import Any

import numpy as np

from tpu_lm.checks import UserError
from tpu_lm.data import dependencies as dependencies_module
from tpu_lm.data.contamination import Contamination, merge
from tpu_lm.data.content_hash import chain, fingerprint
from tpu_lm.data.folder import Folder
from tpu_lm.data.manifest import DOCUMENTS, MANIFEST, Manifest
from tpu_lm.data.store import TokenStore
from tpu_lm.data.writer import (
  StoreHeader,
  done_pieces,
  lengths_name,
  piece_name,
  to_json,
)

# Lengths of documents are gigabytes in all: so many pieces' are read at once.
PIECES_AT_ONCE = 128


def finish(
  folder: Folder,
  header: StoreHeader,
  shards: int,
  contamination: Contamination | None = None,
) -> TokenStore:
  """Makes a store of pieces. Doing it again changes nothing.

  Args:
    folder: of the store, with all pieces.
    header: what is known of the store.
    shards: how many pieces there must be.
    contamination: as of the pieces.

  Returns:
    The store.

  Raises:
    UserError: a piece is missing, or there are no tokens in any; in the
      latter case nothing is left.
  """
  if Manifest.read(folder) is None:
    try:
      pieces = _all_pieces(folder, shards, contamination)
      _finish(folder, header, pieces)
    except (UserError, FileNotFoundError):
      # In object storage another builder may finish it at the same time, and
      # it removes the lengths.
      if Manifest.read(folder) is None:
        raise
  folder.delete(list(folder.sizes('lengths-')))
  return TokenStore(folder.url)


def _all_pieces(
  folder: Folder, shards: int, contamination: Contamination | None
) -> list[dict[str, Any]]:
  found = done_pieces(folder, contamination)
  missing = sorted({*range(shards)} - {*found})
  if missing:
    raise UserError(
      f'{folder.url}: {len(missing)} of {shards} pieces are missing, the'
      f' first is {piece_name(missing[0])}. Is this folder on storage that'
      ' all who wrote them share?'
    )
  return [found[shard] for shard in range(shards)]


def _finish(
  folder: Folder, header: StoreHeader, pieces: list[dict[str, Any]]
) -> None:
  if not any(piece['documents'] for piece in pieces):
    folder.clear()
    raise UserError(f'{header.task}: split {header.split!r} has no tokens')
  offsets = _offsets(folder, pieces)
  counts = Counter()
  content = documents = 0
  for piece in pieces:
    counts.update(piece['counts'])
    content = chain(content, int(piece['hash'], 16), piece['documents'])
    documents += piece['documents']
  manifest = Manifest(
    task=header.task,
    split=header.split,
    num_tokens=int(offsets[-1]),
    num_documents=documents,
    num_bytes=sum(piece['bytes'] for piece in pieces),
    vocabulary_size=header.vocabulary_size,
    dtype=header.dtype.name,
    vocabulary=header.vocabulary,
    whole=header.whole,
    masked=header.masked,
    pieces=[piece['tokens'] for piece in pieces],
    counts=dict(sorted(counts.items())),
    contamination=merge(piece['contamination'] for piece in pieces),
    fingerprint=fingerprint(
      content,
      documents,
      header.vocabulary_size,
      header.vocabulary.get('hash', ''),
      header.whole,
      header.masked,
    ),
  )
  folder.write(DOCUMENTS, offsets.tobytes())
  manifest.check_files(folder)
  folder.write(
    dependencies_module.FILE, to_json(dataclasses.asdict(header.dependencies))
  )
  folder.write(MANIFEST, to_json(dataclasses.asdict(manifest)))


def _offsets(folder: Folder, pieces: list[dict[str, Any]]) -> np.ndarray:
  """Where documents start and the last one ends: i64[documents + 1]."""
  offsets = np.zeros(sum(piece['documents'] for piece in pieces) + 1, '<i8')
  names = [lengths_name(shard) for shard in range(len(pieces))]
  place = 1
  for start in range(0, len(names), PIECES_AT_ONCE):
    for content in folder.read(names[start : start + PIECES_AT_ONCE]):
      lengths = np.frombuffer(content, '<i8')
      offsets[place : place + len(lengths)] = lengths
      place += len(lengths)
  assert place == len(offsets), folder.url
  return np.cumsum(offsets, out=offsets)
