"""Rows of noised text: still a pure function of store, seed, name and row."""

import numpy as np

from tpu_lm.checks import UserError
from tpu_lm.data import placing
from tpu_lm.data.group_order import mix
from tpu_lm.data.layout import Layout
from tpu_lm.data.noise.base import (
  MaskNoiser,
  Noiser,
  PairNoiser,
  TextNoiser,
  longest,
)
from tpu_lm.data.permutation import reshuffle, stable_hash
from tpu_lm.data.row_reader import Rows
from tpu_lm.data.special_tokens import Special
from tpu_lm.data.store import TokenStore


class NoisedRows:
  """Rows of running text that a `PairNoiser` or `TextNoiser` has changed.

  The store is cut into blocks of as many tokens as still fit after the noise;
  each row is one block, read as one text by pair noisers. The store's last
  row begins early enough to be full.

  Attributes:
    rows_per_epoch: the number of blocks.
    length: tokens of text in a row.
    label: of the rows, see `row_reader.Rows`.
    vocabulary_size: likewise.
    objectives: likewise.
  """

  def __init__(
    self,
    store: TokenStore,
    layout: Layout,
    seed: int,
    name: str,
    noiser: PairNoiser | TextNoiser,
    special: Special,
  ):
    """Cuts a store into rows; arguments and errors as of `rows.open_rows`."""
    where = f'{name} ({store.manifest.split})'
    self.length = text_length(noiser, layout)
    if self.length == 0:
      raise UserError(
        f'{type(noiser).__name__}: not one token of text fits into rows of'
        f' {layout.length} tokens'
        + (f' and {layout.targets} of targets' if layout.two_sided else '')
      )
    if store.num_tokens < self.length:
      raise UserError(
        f'{where} has {store.num_tokens:,} tokens; a row of'
        f' {type(noiser).__name__} takes {self.length:,} of them'
      )
    self.rows_per_epoch = max(1, -(-(store.num_tokens - 1) // self.length))
    self.label = str(self.length)
    needed = special.size(noiser.names, noiser.sentinels(self.length))
    self.vocabulary_size = max(store.vocabulary_size, needed)
    self.objectives = noiser.labels
    self._store = store
    self._layout = layout
    self._noiser = noiser
    self._special = special
    self._key = (seed, name)

  def read(self, cursors: np.ndarray) -> dict[str, np.ndarray]:
    """Reads rows by number, see `row_reader.Rows.read`."""
    blocks = reshuffle(cursors, self.rows_per_epoch, *self._key)
    starts = blocks * self.length
    starts = np.minimum(starts, self._store.num_tokens - self.length)
    tokens, begun = self._store.gather(starts, self.length)
    keys = row_keys(cursors, *self._key)
    if isinstance(self._noiser, TextNoiser):
      segments = _segments(tokens.shape, begun)
      texts, documents = self._noiser.texts(
        tokens, segments, keys, self._special
      )
      return placing.place_texts(texts, documents, self._layout)
    pairs = self._noiser.pairs(tokens, keys, self._special)
    batch = placing.place_pairs(pairs, self._special, self._layout)
    return {**batch, 'objective': pairs.labels}


class MaskedRows:
  """Rows of another reader with some of their tokens hidden, for an encoder.

  Attributes:
    rows_per_epoch: of the other reader.
    label: likewise.
    vocabulary_size: of the rows, see `row_reader.Rows`.
    objectives: likewise.
  """

  def __init__(
    self,
    rows: Rows,
    seed: int,
    name: str,
    noiser: MaskNoiser,
    special: Special,
  ):
    """Wraps rows of the causal kind, whose inputs become the text."""
    self.rows_per_epoch = rows.rows_per_epoch
    self.label = rows.label
    needed = special.size(noiser.names, 0)
    self.vocabulary_size = max(rows.vocabulary_size, needed)
    self.objectives = noiser.labels
    self._rows = rows
    self._noiser = noiser
    self._special = special
    self._key = (seed, name)

  def read(self, cursors: np.ndarray) -> dict[str, np.ndarray]:
    """Reads rows by number, see `row_reader.Rows.read`."""
    batch = self._rows.read(cursors)
    tokens, segments = batch['inputs'], batch['segments']
    keys = row_keys(cursors, *self._key)
    hidden, chosen = self._noiser.hide(tokens, segments, keys, self._special)
    weights = (chosen & (segments > 0)).astype(np.float32)
    return {**batch, 'inputs': hidden, 'targets': tokens, 'weights': weights}


def text_length(noiser: PairNoiser | TextNoiser, layout: Layout) -> int:
  """The most tokens of text whose rows fit into a layout; 0: none do."""
  if isinstance(noiser, TextNoiser):
    return longest(
      lambda length: noiser.size(length) <= layout.length + 1,
      layout.length + 1,
    )

  def fits(length: int) -> bool:
    if layout.two_sided:
      inputs, targets = noiser.sizes(length)
      return inputs < layout.length and targets < layout.targets
    return noiser.total(length) <= layout.length

  most = layout.length + layout.targets if layout.two_sided else layout.length
  return longest(fits, most)


def targets_needed(noiser: PairNoiser, length: int) -> int:
  """Tokens of targets, end mark included, of rows of the longest text (of up
  to 8 * length tokens) whose inputs fit into `length` tokens with theirs: 114
  for T5's 512.
  """
  most = longest(lambda text: noiser.sizes(text)[0] < length, 8 * length)
  return noiser.sizes(most)[1] + 1 if most else length


def check_kind(noiser: Noiser, layout: Layout) -> None:
  """Raises UserError unless a noiser suits the layout."""
  if layout.kind not in noiser.layouts:
    raise UserError(
      f'{type(noiser).__name__} is for models of the kind'
      f' {" or ".join(noiser.layouts)}, not {layout.kind}'
    )


def row_keys(cursors: np.ndarray, seed: int, name: str) -> np.ndarray:
  """A key for the noise of each row, u64[n], by source, seed and number."""
  drawn = np.frombuffer(stable_hash(seed, name, 'noise'), '<u8')
  return mix(drawn ^ mix(np.asarray(cursors, np.int64).astype(np.uint64)))


def _segments(
  shape: tuple[int, int], begun: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
  """The document of each token, i32, from 1 in each row."""
  segments = np.zeros(shape, np.int32)
  segments[begun] = 1
  return 1 + np.cumsum(segments, axis=1, dtype=np.int32)
