"""Cross-entropy: what every noise and every kind of model is trained with."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from tpu_lm.checks import check_counts, check_number
from tpu_lm.objectives.logit_summary import summarise
from tpu_lm.state import Mean


@dataclasses.dataclass(frozen=True)
class CrossEntropy:
  """Cross-entropy of each target, in nats.

  What the targets are is the data's affair (`data/noise/`): next tokens, the
  spans that were cut out, the words behind a mask.

  Reads of the batch: what the model reads (through `forward`), targets i32[B,
  S], weights f32[B, S].

  What a model tells besides (`Out.auxiliary`, of experts) is added to the loss
  that is minimised, and its metrics to the log.

  Attributes:
    z_loss: weight of log(Z)^2, which keeps logits from drifting; Chowdhery et
      al. (2022), "PaLM", section 5, uses 1e-4. It is part of the loss that is
      minimised, not of the loss that is reported.
    vocabulary_chunks: parts of the vocabulary whose logits are held one after
      another: less memory, and a third more products of the head.
  """

  z_loss: float = 0.0
  vocabulary_chunks: int = 1

  def __post_init__(self):
    check_number('CrossEntropy.z_loss', self.z_loss, least=0)
    check_counts('CrossEntropy', self, ('vocabulary_chunks',))

  def __call__(self, forward: Callable, batch: dict, rng: jax.Array):
    """See the contract in `objectives/__init__.py`."""
    out = forward(batch)
    weights_BS, targets_BS = batch['weights'], batch['targets']
    log_normalizer_BS, target_logit_BS, correct_BS = summarise(
      out.reading, targets_BS, self.vocabulary_chunks
    )
    loss_BS = (log_normalizer_BS - target_logit_BS) * weights_BS
    weight_B = jnp.sum(weights_BS, axis=1)
    metrics = {
      'loss': Mean(jnp.sum(loss_BS, axis=1), weight_B),
      'accuracy': Mean(jnp.sum(correct_BS * weights_BS, axis=1), weight_B),
    }
    z_BS = jnp.square(log_normalizer_BS) * weights_BS
    loss = jnp.sum(loss_BS) + self.z_loss * jnp.sum(z_BS)
    if out.auxiliary is not None:
      # Weighted as a mean over tokens, since the step divides all at the end.
      loss += out.auxiliary.loss * jnp.sum(weight_B)
      metrics |= {
        name: Mean(value * weight_B, weight_B)
        for name, value in out.auxiliary.metrics.items()
      }
    return loss, metrics, out
