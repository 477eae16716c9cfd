"""A token store: the tokens of one split of one task, read at random.

store_dir/TASK/SPLIT-<hash>/   on a disk or in object storage
  tokens-00000-000.bin   by shard of the source and by part of the shard:
                         little-endian unsigned integers, end to end
  loss-00000-000.bin     u8 for each token, 1 if it is predicted with loss;
                         only where some are not
  piece-00000.json       the shard is done: its counts and hash
  documents.bin          i64[num_documents + 1]: where each document starts,
                         and the end of the last
  dependencies.json      what the store was built from
  manifest.json          a `Manifest`, written last of all: a folder without
                         one is not finished
"""

import functools
from pathlib import Path

import numpy as np

from tpu_lm.checks import UserError
from tpu_lm.data.manifest import (
  DOCUMENTS,
  FORMAT,
  MANIFEST,
  Manifest,
  part_name,
)
from tpu_lm.data.progress import say
from tpu_lm.data.storage import open_folder

LOOKED_AT = 1 << 24  # documents; more would take seconds at every start


def find_stores(folder: str | Path, split: str) -> list[str]:
  """Finds the finished stores of a split.

  Args:
    folder: where the stores of the task are, a path or a URL.
    split: name of the split.

  Returns:
    Paths or URLs of directories that `TokenStore` opens, in order of names.
    One of another format or with a damaged manifest is passed over; the
    latter is told.
  """
  parent = open_folder(folder)
  found = []
  for name in parent.sizes(f'{split}-'):
    directory, _, file = name.rpartition('/')
    if file != MANIFEST or directory.rpartition('-')[0] != split:
      continue
    url = f'{parent.url}/{directory}'
    try:
      if Manifest.read(open_folder(url)) is not None:
        found.append(url)
    except UserError as error:
      say(str(error))
  return found


class TokenStore:
  """Reads a store; safe to use from several threads.

  Attributes:
    directory: where it is, a path or a URL.
    manifest: what the store says of itself.
  """

  def __init__(self, directory: Path | str):
    """Opens a finished store.

    Raises:
      UserError: there is none, it is of another format, or a file is missing
        or short.
    """
    self._folder = open_folder(directory)
    self.directory = self._folder.url
    manifest = Manifest.read(self._folder)
    if manifest is None:
      raise UserError(
        f'{self.directory} is no finished store of format {FORMAT}'
      )
    manifest.check_files(self._folder)
    self.manifest = manifest
    self._dtype = np.dtype(manifest.dtype).newbyteorder('<')
    parts = [
      (shard, part, tokens)
      for shard, parts in enumerate(manifest.pieces)
      for part, tokens in enumerate(parts)
    ]
    self._names = {
      kind: [part_name(kind, shard, part) for shard, part, _ in parts]
      for kind in ('tokens', 'loss')
    }
    self._bounds = np.cumsum([0, *(tokens for *_, tokens in parts)])
    self._bound_list = self._bounds.tolist()
    assert self._bound_list[-1] == manifest.num_tokens, directory

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

  @functools.cached_property
  def offsets(self) -> np.ndarray:
    """Where each document starts, and the last one's end: i64[documents + 1].

    A memory map; of a remote store a copy is kept on this machine.

    Raises:
      UserError: they do not rise from 0 to the number of tokens.
    """
    size = 8 * (self.num_documents + 1)
    path = self._folder.local_copy(DOCUMENTS, size, self.fingerprint)
    offsets = np.asarray(np.memmap(path, '<i8', 'r'))
    looked_at = offsets if len(offsets) <= LOOKED_AT else offsets[[0, -1]]
    good = looked_at[0] == 0 and looked_at[-1] == self.num_tokens
    if not (good and np.all(np.diff(looked_at) > 0)):
      raise UserError(
        f'{self.directory}/{DOCUMENTS} is damaged: delete the folder, and it'
        ' is built again'
      )
    return offsets

  def tokens(self, start: int, stop: int) -> np.ndarray:
    """Reads tokens start to stop - 1 as i32[stop - start]."""
    return self._tokens(np.array([start]), np.array([stop - start]))

  def loss(self, start: int, stop: int) -> np.ndarray:
    """Whether tokens start to stop - 1 are predicted: bool[stop - start]."""
    return self._loss(np.array([start]), np.array([stop - start]))

  def document(self, number: int) -> np.ndarray:
    """Reads one document as i32[length]."""
    start, stop = self.offsets[number : number + 2]
    return self.tokens(int(start), int(stop))

  def gather(
    self, starts: np.ndarray, length: int
  ) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Reads many stretches of tokens of one length at once.

    Args:
      starts: i64[n], first token of each stretch.
      length: tokens in a stretch, 0 beyond the store's end.

    Returns:
      tokens i32[n, length]; and where in them documents start behind the
      first place: rows i64[k] and places i64[k], in their order.
    """
    starts = np.asarray(starts, np.int64)
    lengths = np.minimum(length, self.num_tokens - starts)
    tokens = self._tokens(starts, lengths)
    if len(tokens) < len(starts) * length:
      padded = np.zeros((len(starts), length), np.int32)
      padded[np.arange(length) < lengths[:, None]] = tokens
      tokens = padded
    return tokens.reshape(len(starts), length), self._starts(starts, lengths)

  def gather_tokens(
    self, starts: np.ndarray, lengths: np.ndarray
  ) -> list[np.ndarray]:
    """Reads many stretches of tokens at once.

    Args:
      starts: i64[n], first token of each stretch.
      lengths: i64[n], tokens in each.

    Returns:
      n arrays i32[length].
    """
    return _cut(self._tokens(starts, lengths), lengths)

  def gather_loss(
    self, starts: np.ndarray, lengths: np.ndarray
  ) -> list[np.ndarray]:
    """Whether the tokens of `gather_tokens` are predicted: bool[length]."""
    return _cut(self._loss(starts, lengths), lengths)

  def _tokens(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    content = self._read('tokens', self._dtype.itemsize, starts, lengths)
    return np.frombuffer(content, self._dtype).astype(np.int32)

  def _loss(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    if not self.manifest.masked:
      return np.ones(np.sum(lengths), bool)
    return np.frombuffer(self._read('loss', 1, starts, lengths), bool)

  def _read(
    self, kind: str, size: int, starts: np.ndarray, lengths: np.ndarray
  ) -> bytes:
    """The stretches of one kind of file, end to end; `size` bytes a token."""
    starts = np.asarray(starts, np.int64)
    stops = starts + lengths
    assert np.all((starts >= 0) & (starts <= stops))
    assert np.all(stops <= self.num_tokens)
    names, bounds = self._names[kind], self._bound_list
    files = np.searchsorted(self._bounds, starts, side='right') - 1
    requests = []
    for file, start, stop in zip(
      files.tolist(), starts.tolist(), stops.tolist()
    ):
      while start < stop:  # once, unless the stretch runs over a file's end
        first, end = bounds[file], min(stop, bounds[file + 1])
        requests.append(
          (names[file], (start - first) * size, (end - first) * size)
        )
        start, file = end, file + 1
    return b''.join(self._folder.read_ranges(requests))

  def _starts(
    self, starts: np.ndarray, lengths: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """The rows and places at which documents start, as of `gather`."""
    ends = starts + lengths - 1
    first, last = np.searchsorted(self.offsets, [starts, ends], side='right')
    counts = last - first
    rows = np.repeat(np.arange(len(starts)), counts)
    within = np.arange(len(rows)) - np.repeat(
      np.cumsum(counts) - counts, counts
    )
    return rows, self.offsets[first[rows] + within] - starts[rows]


def _cut(flat: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
  stops = np.cumsum(lengths).tolist()
  return [flat[start:stop] for start, stop in zip([0, *stops], stops)]
