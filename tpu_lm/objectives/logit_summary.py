"""What a cross-entropy needs of logits, without holding all of them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tpu_lm.blocks.reading import Reading


class LogitSummary(NamedTuple):
  """Three numbers of each position's logits.

  Attributes:
    log_normalizer_BS: f32, log of the sum of their exponentials.
    target_logit_BS: f32.
    correct_BS: bool, whether the target's is the largest.
  """

  log_normalizer_BS: jax.Array
  target_logit_BS: jax.Array
  correct_BS: jax.Array


def summarise(
  reading: Reading, targets_BS: jax.Array, chunks: int = 1
) -> LogitSummary:
  """Summarises logits, over all of the vocabulary or part after part.

  With n chunks B * S * V / n logits are held at a time, in the backward pass
  too, which computes them again (a fourth product of this size beside three).
  Token v is in chunk v mod n, so that a device keeps the part of the table
  that it has, whatever the chunk.

  Args:
    reading: of vectors [B, S, D].
    targets_BS: i32.
    chunks: n.
  """
  if chunks == 1:
    logits_BSV = reading.logits()
    target_BS1 = jnp.take_along_axis(logits_BSV, targets_BS[..., None], -1)
    return LogitSummary(
      jax.nn.logsumexp(logits_BSV, axis=-1),
      target_BS1[..., 0],
      jnp.argmax(logits_BSV, axis=-1) == targets_BS,
    )
  vocabulary = len(reading.table_VD)
  size = -(-vocabulary // chunks)
  dtype = reading.x_BSD.dtype
  # Gradients of all chunks are added in float32, as one product would.
  x_BSD = reading.x_BSD.astype(jnp.float32)

  def split(array: jax.Array) -> jax.Array:
    missing = ((0, size * chunks - vocabulary), *((0, 0),) * (array.ndim - 1))
    padded = jnp.pad(array, missing)
    return jnp.moveaxis(padded.reshape(size, chunks, *array.shape[1:]), 1, 0)

  def part(_, scanned):
    chunk, table_VD, bias_V = scanned
    part = Reading(x_BSD.astype(dtype), table_VD, bias_V, reading.softcap)
    logits_BSV = part.logits()
    tokens_V = jnp.arange(size) * chunks + chunk
    logits_BSV = jnp.where(tokens_V < vocabulary, logits_BSV, -jnp.inf)
    target_BS1 = jnp.take_along_axis(
      logits_BSV, (targets_BS // chunks)[..., None], axis=-1
    )
    return None, (
      jax.nn.logsumexp(logits_BSV, axis=-1),
      jnp.where(targets_BS % chunks == chunk, target_BS1[..., 0], 0),
      jnp.max(jax.lax.stop_gradient(logits_BSV), axis=-1),
      jnp.argmax(logits_BSV, axis=-1) * chunks + chunk,
    )

  table_CVD, bias_CV = jax.tree.map(split, (reading.table_VD, reading.bias_V))
  _, (normalizers_CBS, targets_CBS, largest_CBS, best_CBS) = jax.lax.scan(
    jax.checkpoint(part, prevent_cse=False),
    None,
    (jnp.arange(chunks), table_CVD, bias_CV),
  )
  # Of equal logits the first token counts, as argmax has it.
  ties_CBS = largest_CBS == jnp.max(largest_CBS, axis=0)
  best_BS = jnp.min(jnp.where(ties_CBS, best_CBS, vocabulary), axis=0)
  return LogitSummary(
    jax.nn.logsumexp(normalizers_CBS, axis=0),
    jnp.sum(targets_CBS, axis=0),
    best_BS == targets_BS,
  )
