"""From NNX modules to nested dicts of arrays, and back.

Outside `blocks/` and `models/` nobody knows that NNX exists.
"""

from typing import Any

import jax
from flax import nnx

from tpu_lm.tree import Tree


def params_of(module: nnx.Module) -> Tree:
  """A module's parameters as nested dicts of arrays."""
  return nnx.to_pure_dict(nnx.state(module))


def init_parts(parts: dict[str, Any], key: jax.Array) -> Tree:
  """Fresh parameters of modules by name, each with a key of its own."""
  return {
    name: params_of(make(nnx.Rngs(params=jax.random.fold_in(key, i))))
    for i, (name, make) in enumerate(parts.items())
  }


def graph_of(make) -> nnx.GraphDef:
  """The structure of what `make(rngs)` gives, without values: for a merge."""
  return nnx.split(_abstract(make))[0]


def axes_of(make) -> Tree:
  """Axis names of what `make(rngs)` gives, as nested dicts of tuples."""
  state = nnx.state(_abstract(make))
  return nnx.to_pure_dict(
    jax.tree.map(
      lambda variable: variable.get_metadata()['axes'],
      state,
      is_leaf=lambda leaf: isinstance(leaf, nnx.Variable),
    )
  )


def _abstract(make) -> nnx.Module:
  return nnx.eval_shape(lambda: make(nnx.Rngs(params=jax.random.key(0))))
