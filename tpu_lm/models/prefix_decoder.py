"""A decoder that sees the whole of a prefix at once."""

import dataclasses
from typing import ClassVar

import jax

from tpu_lm.blocks.visibility import Visibility, prefix
from tpu_lm.models.one_stack import OneStack
from tpu_lm.models.stack import Stack


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrefixDecoder(OneStack):
  """A decoder whose tokens see, besides what came before them, all of the
  prefix of their document; Raffel et al. (2020), section 3.2.1, "prefix LM".

  It reads `prefix` of the batch besides what a decoder does, and has a
  decoder's parameters: either can go on from the other. Positions that add to
  the attention logits count backwards only, so a token of the prefix has no
  distance to a later one.

  Attributes: see `Transformer`.
  """

  layout: ClassVar[str] = 'prefix_decoder'

  def _visibility(self, batch: dict[str, jax.Array]) -> Visibility:
    return prefix(batch['segments'], batch['prefix'])

  def _stack(self) -> Stack:
    return Stack(self, self.layers, both_ways=False)
