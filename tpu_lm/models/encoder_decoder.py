"""An encoder, and a decoder that looks at what it gives."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from tpu_lm.blocks.layer import View
from tpu_lm.blocks.visibility import both_ways, causal
from tpu_lm.checks import check_counts
from tpu_lm.models.modules import axes_of, init_parts
from tpu_lm.models.stack import Stack
from tpu_lm.models.transformer import Out, Transformer
from tpu_lm.tree import Tree


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderDecoder(Transformer):
  """A model of sequences to sequences, of the kind of T5 and BART.

  Both sides have the same token vectors and the same blocks. A decoder's layer
  looks at what the last layer of the encoder gives for the same document.
  Positions that act on attention do so within each side.

  Attributes: see `Transformer`; `layers` are the decoder's, and
    encoder_layers: the encoder's.
  """

  layout: ClassVar[str] = 'encoder_decoder'

  encoder_layers: int

  def __post_init__(self):
    super().__post_init__()
    check_counts('EncoderDecoder', self, ('encoder_layers',))

  def init(self, key: jax.Array) -> Tree:
    """Fresh parameters: nested dicts of float32; layers are stacked first."""
    outer_key, *keys = jax.random.split(key, 3)
    params = init_parts(self.outer_parts(), outer_key)
    for (name, stack), own_key in zip(
      self._stacks().items(), keys, strict=True
    ):
      layer_key, rest_key = jax.random.split(own_key)
      parts = init_parts(stack.parts(), rest_key)
      params[name] = {**parts, 'layers': stack.init_layers(layer_key)}
    return params

  def axes(self) -> Tree:
    """Axis names of every parameter: the structure of `init`'s result."""
    axes = {name: axes_of(make) for name, make in self.outer_parts().items()}
    for name, stack in self._stacks().items():
      own = {part: axes_of(make) for part, make in stack.parts().items()}
      axes[name] = {**own, 'layers': stack.layer_axes()}
    return axes

  def apply(
    self,
    params: Tree,
    batch: dict[str, jax.Array],
    rng: jax.Array | None = None,
  ) -> Out:
    """Logits for every position of the decoder.

    Args:
      params: as `init` gives them.
      batch: inputs, segments and positions, and the encoder's, see
        `shapes.BATCH_KEYS`.
      rng: of dropout; None: nothing is dropped.
    """
    encoded_BED, *first = self._encode(params, batch, rng)
    hidden_BSD, *then = self._decode(params, encoded_BED, batch, rng)
    auxiliary = jax.tree.map(
      lambda *of_layers: jnp.concatenate(of_layers), *first, *then
    )
    return self.out(params, hidden_BSD, auxiliary)

  def encode(
    self,
    params: Tree,
    batch: dict[str, jax.Array],
    rng: jax.Array | None = None,
  ) -> jax.Array:
    """What the encoder gives, [B, E, D]; reads its part of the batch only."""
    return self._encode(params, batch, rng)[0]

  def _encode(self, params: Tree, batch: dict, rng: jax.Array | None):
    segments_BE = batch['encoder_segments']
    return self._stacks()['encoder'](
      params['encoder'],
      self.token_vectors(params),
      batch['encoder_inputs'],
      batch['encoder_positions'],
      View(both_ways(segments_BE, segments_BE)),
      None if rng is None else jax.random.fold_in(rng, 0),
    )

  def decode(
    self,
    params: Tree,
    encoded_BED: jax.Array,
    batch: dict[str, jax.Array],
    rng: jax.Array | None = None,
  ) -> jax.Array:
    """What the decoder gives that looks at `encode`'s result, [B, S, D]."""
    return self._decode(params, encoded_BED, batch, rng)[0]

  def _decode(
    self,
    params: Tree,
    encoded_BED: jax.Array,
    batch: dict,
    rng: jax.Array | None,
  ):
    view = View(
      causal(batch['segments']),
      encoded_BED=encoded_BED,
      cross=both_ways(batch['segments'], batch['encoder_segments']),
    )
    return self._stacks()['decoder'](
      params['decoder'],
      self.token_vectors(params),
      batch['inputs'],
      batch['positions'],
      view,
      None if rng is None else jax.random.fold_in(rng, 1),
    )

  def _stacks(self) -> dict[str, Stack]:
    return {
      'encoder': Stack(self, self.encoder_layers, both_ways=True),
      'decoder': Stack(self, self.layers, both_ways=False, cross=True),
    }
