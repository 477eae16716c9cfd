"""The training state, and the hooks of everything that modifies training."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tpu_lm.tree import Tree


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """All that the step reads and writes.

  Attributes:
    step: i32[], steps taken along the lineage.
    params: nested dicts of float32 arrays.
    optimizer: the optimizer's state.
    slots: what each method keeps, by the method's name.
  """

  step: jax.Array
  params: Tree
  optimizer: Tree
  slots: dict[str, Tree]


class Mean(NamedTuple):
  """A weighted mean before its one division, by leading dimension."""

  total: jax.Array  # f32[...], sum of weight * value
  weight: jax.Array  # f32[...]


class Method:
  """Something that modifies training; a frozen dataclass, one file each.

  A method overrides the hooks it needs. `slot` is what its `init` returned,
  as last changed by its `after`. It is saved in checkpoints, and made anew at
  the entry of each phase.
  """

  @property
  def name(self) -> str:
    """Key of the method's slot."""
    return type(self).__name__

  def init(self, params: Tree) -> Tree:
    """The slot at the entry of the phase."""
    return {}

  def view(self, params: Tree, slot: Tree) -> Tree:
    """What the forward pass sees in training; evaluations see `params`."""
    return params

  def loss(self, params: Tree, slot: Tree, batch: dict, out: Any) -> jax.Array:
    """f32[], added to the mean loss of the batch."""
    return jnp.zeros(())

  def grads(self, gradients: Tree, params: Tree, slot: Tree) -> Tree:
    """The gradients that the optimizer sees."""
    return gradients

  def after(self, old: Tree, params: Tree, slot: Tree) -> tuple[Tree, Tree]:
    """(parameters, slot) after the update from `old` to `params`."""
    return params, slot


def init_state(model, optimizer, methods, key: jax.Array) -> TrainState:
  """A fresh state; jit it with output shardings so that it is born sharded."""
  params = model.init(key)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    optimizer=optimizer.init(params),
    slots={method.name: method.init(params) for method in methods},
  )
