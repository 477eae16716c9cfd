"""Row `cursor` of a source: a pure function of store, seed, name and length."""

import dataclasses
from collections.abc import Callable

import numpy as np

from tpu_lm.checks import UserError
from tpu_lm.data import packing
from tpu_lm.data.layout import (
  DECODER,
  ENCODER,
  ENCODER_DECODER,
  PREFIX_DECODER,
  Layout,
)
from tpu_lm.data.noise.base import MaskNoiser, Noiser
from tpu_lm.data.noise.masked_lm import MaskedLM
from tpu_lm.data.noise.span_corruption import SpanCorruption
from tpu_lm.data.noised import MaskedRows, NoisedRows, check_kind
from tpu_lm.data.packed import PackedRows
from tpu_lm.data.pairs import PairRows
from tpu_lm.data.permutation import reshuffle
from tpu_lm.data.row_reader import Rows
from tpu_lm.data.special_tokens import Special
from tpu_lm.data.store import TokenStore

# What models of a kind learn from running text, where nothing else is said.
USUAL = {ENCODER: MaskedLM(), ENCODER_DECODER: SpanCorruption()}


def open_rows(
  store: TokenStore,
  layout: Layout,
  seed: int,
  name: str,
  noiser: Noiser | None = None,
  special_tokens: Callable[[TokenStore], Special] | None = None,
) -> Rows:
  """Opens the rows of a store: packed whole where its documents are whole.

  Args:
    store: where the tokens are.
    layout: the shape of the rows.
    seed: chooses the order and the noise, together with the name.
    name: the source's name.
    noiser: what the text becomes; None: what models of the layout's kind are
      usually trained on (span corruption, masked tokens, else the next token).
    special_tokens: gives a store's, such as `Corpus.special_tokens`; needed
      where there is noise or an encoder.

  Raises:
    UserError: the store is too small, or is of whole documents and none fits
      into a row; or the noiser is for another kind of model or of data.
  """
  whole = store.manifest.whole
  if noiser is None and not (whole and layout.two_sided):
    noiser = USUAL.get(layout.kind)
  if noiser is not None:
    check_kind(noiser, layout)
  if noiser is not None or layout.two_sided:
    special = special_tokens(store)
  if isinstance(noiser, MaskNoiser):
    plain = dataclasses.replace(layout, kind=DECODER)
    rows = open_rows(store, plain, seed, name)
    return MaskedRows(rows, seed, name, noiser, special)
  if whole and noiser is not None:
    raise UserError(
      f'{name} has whole examples: {type(noiser).__name__} is for running text.'
      ' Leave it out of Mixture.noise'
    )
  if noiser is not None:
    return NoisedRows(store, layout, seed, name, noiser, special)
  if whole and layout.two_sided:
    return PairRows(store, layout, seed, name, special)
  return (PackedRows if whole else TextRows)(store, layout, seed, name)


class TextRows:
  """Rows of running text: concatenated documents, cut into full rows.

  The store is cut into blocks of the layout's length; each epoch reads every
  block once, in an order of its own. A row is a block and the token after it
  (the last target); the store's last block, if it is shorter, is padded.

  Attributes:
    rows_per_epoch: the number of blocks.
    label: of the rows, see `row_reader.Rows`.
    vocabulary_size: likewise.
    objectives: likewise.
  """

  objectives = ('causal',)

  def __init__(self, store: TokenStore, layout: Layout, seed: int, name: str):
    """Cuts a store into rows; arguments and errors as of `open_rows`."""
    if store.manifest.masked:
      raise UserError(
        f'{store.directory} is damaged: some of its tokens carry no loss, so'
        ' its examples must be whole; delete it, and it is built again'
      )
    if store.num_tokens < 2:
      raise UserError(
        f'{name} ({store.manifest.split}) has one token: nothing to predict'
      )
    self.rows_per_epoch = -(-(store.num_tokens - 1) // layout.length)
    self.label = str(layout.length)
    self.vocabulary_size = store.vocabulary_size
    self._store = store
    self._layout = layout
    self._length = layout.length
    self._key = (seed, name)

  def read(self, cursors: np.ndarray) -> dict[str, np.ndarray]:
    """Reads rows by number, see `row_reader.Rows.read`."""
    blocks = reshuffle(cursors, self.rows_per_epoch, *self._key)
    starts = blocks * self._length
    tokens, begun = self._store.gather(starts, self._length + 1)
    batch = packing.causal(tokens, begun, self._layout.mask_documents)
    left = self._store.num_tokens - 1 - starts  # to predict, to the very end
    for row in np.flatnonzero(left < self._length):
      for value in batch.values():
        value[row, left[row] :] = 0
    if self._layout.kind == PREFIX_DECODER:
      batch['prefix'] = np.zeros_like(batch['inputs'])
    return batch
