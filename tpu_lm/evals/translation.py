"""How good what a model writes is, against references: BLEU and chrF."""

import dataclasses

import jax
import numpy as np
import sacrebleu

from tpu_lm.checks import UserError, check_counts, check_kinds
from tpu_lm.data import packing, placing
from tpu_lm.data.layout import ENCODER_DECODER, Layout
from tpu_lm.data.noise.base import Pairs, Ragged
from tpu_lm.data.pairs import first_losses
from tpu_lm.data.special_tokens import Special
from tpu_lm.data.store import TokenStore
from tpu_lm.generate.greedy import greedy
from tpu_lm.tree import Tree


@dataclasses.dataclass(frozen=True)
class Translation:
  """sacreBLEU and chrF of greedy translations of held-out pairs.

  BLEU is of Papineni et al. (2002) and chrF of Popovic (2015), both as
  sacreBLEU (Post 2018) computes them by default: 13a tokens, mixed case,
  exponential smoothing. The pairs are the first of the validation split whose
  two sides fit; those that don't are counted.

  Attributes:
    source: a source of pairs, whose inputs carry no loss.
    pairs: how many of them.
    batch_size: pairs that are translated at once.
    length: the most tokens of a side.
  """

  source: str
  pairs: int = 500
  batch_size: int = 32
  length: int = 128

  def __post_init__(self):
    check_kinds('Translation', self, {'source': str})
    check_counts('Translation', self, ('pairs', 'batch_size', 'length'))

  def check(self, run) -> None:
    """Raises UserError for what would end `__call__`, before any training."""
    if run.model.layout != ENCODER_DECODER:
      raise UserError(
        'Translation is for encoder-decoders; the model is of the kind'
        f' {run.model.layout!r}'
      )
    store = run.corpus.open(self.source, 'validation')
    inputs, targets, _ = self._pairs(store)
    if not inputs:
      raise UserError(
        f'Translation: {self.source} (validation) has no pairs of inputs and'
        f' targets of up to {self.length} tokens'
      )
    run.corpus.special_tokens(store).decode(targets[0])
    batch = Layout(self.length, ENCODER_DECODER).empty()
    params = jax.eval_shape(run.model.init, jax.random.key(0))
    jax.eval_shape(run.model.apply, params, batch)

  def __call__(self, run, params: Tree) -> dict[str, float]:
    """Translates with a run's model.

    Returns:
      'validation/bleu/SOURCE' and 'validation/chrf/SOURCE', 0 to 100, and
      'validation/too_long/SOURCE', how many pairs did not fit.
    """
    model, source = run.model, self.source
    store = run.corpus.open(source, 'validation')
    special = run.corpus.special_tokens(store)
    inputs, references, too_long = self._pairs(store)
    written = []
    for first in range(0, len(inputs), self.batch_size):
      batch = self._batch(inputs[first : first + self.batch_size], special)
      tokens = greedy(
        model,
        params,
        batch,
        length=self.length,
        start=special.start,
        end=special.end,
      )
      written += [special.decode(row[row >= 0]) for row in tokens]
    texts = written[: len(inputs)]
    expected = [[special.decode(reference) for reference in references]]
    return {
      f'validation/bleu/{source}': sacrebleu.corpus_bleu(texts, expected).score,
      f'validation/chrf/{source}': sacrebleu.corpus_chrf(texts, expected).score,
      f'validation/too_long/{source}': float(too_long),
    }

  def _pairs(
    self, store: TokenStore
  ) -> tuple[list[np.ndarray], list[np.ndarray], int]:
    """Inputs and targets that fit, and how many did not before they did."""
    split = first_losses(store)
    written = np.diff(store.offsets) - split
    paired = np.flatnonzero((split > 0) & (written > 0))
    fits = np.maximum(split + 1, written)[paired] <= self.length
    chosen = np.flatnonzero(fits)[: self.pairs]
    enough = len(chosen) == self.pairs
    too_long = int((~fits[: chosen[-1] if enough else None]).sum())
    starts, middles = store.offsets[paired[chosen]], split[paired[chosen]]
    inputs = store.gather_tokens(starts, middles)
    targets = store.gather_tokens(starts + middles, written[paired[chosen]])
    return inputs, targets, too_long

  def _batch(self, inputs: list[np.ndarray], special: Special) -> dict:
    """Inputs as the encoder reads them, a row each; rows of padding fill up."""
    lengths = np.array([len(tokens) for tokens in inputs], np.int64)
    nothing = Ragged(np.zeros(0, np.int32), np.zeros_like(lengths))
    pairs = Pairs(Ragged(np.concatenate(inputs), lengths), nothing, lengths * 0)
    layout = Layout(self.length, ENCODER_DECODER)
    batch = packing.pad_rows(
      placing.place_pairs(pairs, special, layout), self.batch_size
    )
    return {k: v for k, v in batch.items() if k.startswith('encoder_')}
