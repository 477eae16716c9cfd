"""An encoder: every token sees its whole document."""

import dataclasses
from typing import ClassVar

import jax

from tpu_lm.blocks.attention import segment_mask
from tpu_lm.models.one_stack import OneStack
from tpu_lm.models.stack import Stack


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoder(OneStack):
  """An encoder with logits for every position, of the BERT kind.

  Attributes: see `Transformer`.
  """

  layout: ClassVar[str] = 'encoder'

  def _mask(self, batch: dict[str, jax.Array]) -> jax.Array:
    return segment_mask(batch['segments'], batch['segments'])

  def _stack(self) -> Stack:
    return Stack(self, self.layers, both_ways=True)
