"""A decoder: every token sees what came before it in its document."""

import dataclasses
from typing import ClassVar

import jax

from tpu_lm.blocks.visibility import Visibility, causal
from tpu_lm.models.one_stack import OneStack
from tpu_lm.models.stack import Stack


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoder(OneStack):
  """A decoder-only language model, of the Llama kind unless chosen otherwise.

  Attributes: see `Transformer`.
  """

  layout: ClassVar[str] = 'decoder'

  def _visibility(self, batch: dict[str, jax.Array]) -> Visibility:
    return causal(batch['segments'])

  def _stack(self) -> Stack:
    return Stack(self, self.layers, both_ways=False)
