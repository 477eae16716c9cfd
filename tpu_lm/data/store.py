"""A token store: the tokens of one split of one task, read at random.

store_dir/TASK/SPLIT-<hash>/
  manifest.json        counts, dtype, vocabulary, dependencies (a `Manifest`)
  tokens-00000.bin     little-endian unsigned integers, end to end
  documents.bin        i64[num_documents + 1]: where each document starts,
                       and the end of the last
"""

import dataclasses
import json
from pathlib import Path

import numpy as np

FORMAT = 1
MANIFEST = 'manifest.json'
DOCUMENTS = 'documents.bin'
PARTIAL = '.partial'


@dataclasses.dataclass(frozen=True)
class Manifest:
  """What a store says of itself.

  Attributes:
    task: name of the task.
    split: name of the split.
    num_tokens: tokens of all documents.
    num_documents: documents, none of them empty.
    vocabulary_size: every token is below it.
    dtype: name of the stored unsigned integer type.
    chunk_tokens: tokens in each chunk file but the last.
    vocabulary: a description of the vocabulary, and its hash.
    fingerprint: hash of the content: tokens, document bounds, vocabulary.
    format: version of this layout.
  """

  task: str
  split: str
  num_tokens: int
  num_documents: int
  vocabulary_size: int
  dtype: str
  chunk_tokens: int
  vocabulary: dict[str, str]
  fingerprint: str
  format: int = FORMAT

  def write(self, directory: Path) -> None:
    """Writes `manifest.json`."""
    text = json.dumps(dataclasses.asdict(self), indent=1)
    (directory / MANIFEST).write_text(text + '\n')

  @classmethod
  def read(cls, directory: Path) -> 'Manifest | None':
    """Reads `manifest.json`; None if it is of another format."""
    fields = json.loads((directory / MANIFEST).read_text())
    return cls(**fields) if fields['format'] == FORMAT else None


def store_directories(folder: Path, split: str) -> list[Path]:
  """The directories named SPLIT-<hash>, half-written ones among them."""
  found = folder.glob(f'{split}-*')
  return sorted(
    path
    for path in found
    if path.name.rpartition('-')[0] == split and path.is_dir()
  )


class TokenStore:
  """Reads a store through memory maps.

  Attributes:
    manifest: what the store says of itself.
  """

  def __init__(self, directory: Path | str):
    """Opens the store in a directory that `TokenStoreWriter` finished."""
    directory = Path(directory)
    manifest = Manifest.read(directory)
    assert manifest is not None, f'{directory} is of another format'
    self.manifest = manifest
    dtype = np.dtype(manifest.dtype).newbyteorder('<')
    self._chunks = [
      np.asarray(np.memmap(path, dtype, 'r'))
      for path in sorted(directory.glob('tokens-*'))
    ]
    self._offsets = np.asarray(np.memmap(directory / DOCUMENTS, '<i8', 'r'))
    assert sum(map(len, self._chunks)) == manifest.num_tokens, directory

  @property
  def num_tokens(self) -> int:
    """Tokens of all documents."""
    return self.manifest.num_tokens

  @property
  def num_documents(self) -> int:
    """Documents, none of them empty."""
    return self.manifest.num_documents

  @property
  def vocabulary_size(self) -> int:
    """Every token is below it."""
    return self.manifest.vocabulary_size

  @property
  def fingerprint(self) -> str:
    """Hash of the content; equal fingerprints hold equal tokens."""
    return self.manifest.fingerprint

  def tokens(self, start: int, stop: int) -> np.ndarray:
    """Reads tokens start to stop - 1 as i32[stop - start]."""
    return self.gather(np.array([start]), stop - start)[0][0]

  def document(self, number: int) -> np.ndarray:
    """Reads one document as i32[length]."""
    start, stop = self._offsets[number : number + 2]
    return self.tokens(int(start), int(stop))

  def gather(
    self, starts: np.ndarray, length: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """Reads many stretches of tokens at once.

    Args:
      starts: i64[n], first token of each stretch.
      length: tokens in a stretch; start + length is at most `num_tokens`.

    Returns:
      tokens i32[n, length] and the number of the document of each, i64.
    """
    starts = np.asarray(starts, np.int64)
    assert np.all((starts >= 0) & (starts + length <= self.num_tokens))
    return self._gather_tokens(starts, length), self._gather_documents(
      starts, length
    )

  def _gather_tokens(self, starts: np.ndarray, length: int) -> np.ndarray:
    tokens = np.empty((len(starts), length), np.int32)
    size = self.manifest.chunk_tokens
    for row, start in zip(tokens, starts.tolist()):
      done = 0
      while done < length:  # once, unless the row runs over a chunk's end
        chunk, place = divmod(start + done, size)
        part = self._chunks[chunk][place : place + length - done]
        row[done : done + len(part)] = part
        done += len(part)
    return tokens

  def _gather_documents(self, starts: np.ndarray, length: int) -> np.ndarray:
    first = np.searchsorted(self._offsets, starts, side='right') - 1
    last = np.searchsorted(self._offsets, starts + length - 1, side='right') - 1
    # Each document that starts inside a row adds one from there on.
    counts = last - first
    rows = np.repeat(np.arange(len(starts)), counts)
    within = np.arange(counts.sum()) - np.repeat(
      np.cumsum(counts) - counts, counts
    )
    places = self._offsets[first[rows] + 1 + within] - starts[rows]
    documents = np.zeros((len(starts), length), np.int64)
    documents[rows, places] = 1
    documents[:, 0] = first
    return np.cumsum(documents, axis=1)
