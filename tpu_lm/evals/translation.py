"""How good what a model writes is, against references: BLEU and chrF."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import sacrebleu

from tpu_lm.checks import UserError, require
from tpu_lm.data.layout import ENCODER_DECODER
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
    for name in ('pairs', 'batch_size', 'length'):
      value = getattr(self, name)
      good = type(value) is int and value > 0
      require(good, f'Translation.{name}', value, 'must be a positive int')

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
    rows = jax.ShapeDtypeStruct((1, self.length), jnp.int32)
    sides = ('encoder_inputs', 'encoder_segments', 'encoder_positions')
    sides += ('inputs', 'segments', 'positions')
    params = jax.eval_shape(run.model.init, jax.random.key(0))
    jax.eval_shape(run.model.apply, params, dict.fromkeys(sides, rows))

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
      batch = self._batch(inputs[first : first + self.batch_size], special.end)
      tokens = greedy(
        model,
        params,
        batch,
        length=self.length,
        start=special.start,
        end=special.end,
      )
      written += [special.decode(row[row >= 0]) for row in np.asarray(tokens)]
    texts = written[: len(inputs)]
    expected = [[special.decode(reference) for reference in references]]
    return {
      f'validation/bleu/{source}': sacrebleu.corpus_bleu(texts, expected).score,
      f'validation/chrf/{source}': sacrebleu.corpus_chrf(texts, expected).score,
      f'validation/too_long/{source}': float(too_long),
    }

  def _pairs(self, store) -> tuple[list[np.ndarray], list[np.ndarray], int]:
    """Inputs and targets that fit, and how many did not."""
    inputs, targets, too_long = [], [], 0
    for number in range(store.num_documents):
      if len(inputs) == self.pairs:
        break
      start, stop = map(int, store.offsets[number : number + 2])
      tokens, loss = store.tokens(start, stop), store.loss(start, stop)
      if loss.all() or not loss.any():
        continue
      split = int(np.argmax(loss))
      if max(split + 1, len(tokens) - split) > self.length:
        too_long += 1
        continue
      inputs.append(tokens[:split])
      targets.append(tokens[split:])
    return inputs, targets, too_long

  def _batch(self, inputs: list[np.ndarray], end: int) -> dict:
    """Inputs as the encoder reads them, a row each, closed and padded."""
    rows = np.zeros((self.batch_size, self.length), np.int32)
    segments = np.zeros_like(rows)
    for row, tokens in enumerate(inputs):
      rows[row, : len(tokens)] = tokens
      rows[row, len(tokens)] = end
      segments[row, : len(tokens) + 1] = 1
    positions = np.arange(self.length, dtype=np.int32) * segments
    return {
      'encoder_inputs': rows,
      'encoder_segments': segments,
      'encoder_positions': positions,
    }
