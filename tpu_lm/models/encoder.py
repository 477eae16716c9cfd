"""An encoder: every token sees its whole document."""

import dataclasses
from typing import ClassVar

import jax

from tpu_lm.blocks.visibility import Visibility, both_ways
from tpu_lm.models.one_stack import OneStack
from tpu_lm.models.stack import Stack


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoder(OneStack):
  """An encoder with logits for every position, of the BERT kind.

  Attributes: see `Transformer`.
  """

  layout: ClassVar[str] = 'encoder'

  def _visibility(self, batch: dict[str, jax.Array]) -> Visibility:
    return both_ways(batch['segments'], batch['segments'])

  def _stack(self) -> Stack:
    return Stack(self, self.layers, both_ways=True)
