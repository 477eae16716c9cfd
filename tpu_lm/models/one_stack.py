"""What models of a single stack of layers share."""

import abc

import jax

from tpu_lm.blocks.layer import View
from tpu_lm.blocks.visibility import Visibility
from tpu_lm.models.modules import axes_of, init_parts
from tpu_lm.models.stack import Stack
from tpu_lm.models.transformer import Out, Transformer
from tpu_lm.tree import Tree


class OneStack(Transformer, abc.ABC):
  """A model of one stack of layers: its parameters lie at the root.

  Each kind says which tokens a token sees.
  """

  def init(self, key: jax.Array) -> Tree:
    """Fresh parameters: nested dicts of float32; layers are stacked first."""
    layer_key, rest_key = jax.random.split(key)
    stack = self._stack()
    outer = self.outer_parts()
    parts = {'embedding': outer.pop('embedding'), **stack.parts(), **outer}
    return {
      **init_parts(parts, rest_key),
      'layers': stack.init_layers(layer_key),
    }

  def axes(self) -> Tree:
    """Axis names of every parameter: the structure of `init`'s result."""
    stack = self._stack()
    parts = {**self.outer_parts(), **stack.parts()}
    axes = {name: axes_of(make) for name, make in parts.items()}
    return {**axes, 'layers': stack.layer_axes()}

  def apply(
    self,
    params: Tree,
    batch: dict[str, jax.Array],
    rng: jax.Array | None = None,
  ) -> Out:
    """Logits for every position.

    Args:
      params: as `init` gives them.
      batch: inputs, segments and positions, see `shapes.BATCH_KEYS`.
      rng: of dropout; None: nothing is dropped.
    """
    hidden_BSD, auxiliary = self._stack()(
      params,
      self.token_vectors(params),
      batch['inputs'],
      batch['positions'],
      View(self._visibility(batch)),
      rng,
    )
    return self.out(params, hidden_BSD, auxiliary)

  @abc.abstractmethod
  def _visibility(self, batch: dict[str, jax.Array]) -> Visibility:
    """Which tokens see which."""

  @abc.abstractmethod
  def _stack(self) -> Stack:
    """The layers."""
