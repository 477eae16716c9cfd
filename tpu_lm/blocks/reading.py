"""Logits, and what they are read from."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from tpu_lm.blocks.activations import capped
from tpu_lm.shapes import BATCH, SEQUENCE, VOCAB
from tpu_lm.sharding import constrain


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=['x_BSD', 'table_VD', 'bias_V'],
  meta_fields=['softcap'],
)
@dataclasses.dataclass(frozen=True)
class Reading:
  """Vectors, and the table that logits compare them with.

  A loss may go through the table in parts, and never hold all logits.

  Attributes:
    x_BSD: vectors, in the model's dtype.
    table_VD: f32, one vector a token.
    bias_V: f32, or None.
    softcap: as of `activations.capped`.
  """

  x_BSD: jax.Array
  table_VD: jax.Array
  bias_V: jax.Array | None = None
  softcap: float | None = None

  def logits(self) -> jax.Array:
    """f32[B, S, V]: capped(x E^T + b)."""
    logits_BSV = jnp.einsum(
      'BSD,VD->BSV',
      self.x_BSD,
      self.table_VD.astype(self.x_BSD.dtype),
      preferred_element_type=jnp.float32,
    )
    logits_BSV = constrain(logits_BSV, BATCH, SEQUENCE, VOCAB)
    if self.bias_V is not None:
      logits_BSV += self.bias_V
    return capped(logits_BSV, self.softcap)
