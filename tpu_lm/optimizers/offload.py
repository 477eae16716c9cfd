"""Optimizer state that lives in the memory of the host.

A device holds it only while a step's updates are computed: it costs two
transfers a step, and frees 8 bytes a parameter under AdamW. Rajbhandari et al.
(2021), "ZeRO-Infinity", section 5.2, but updates stay on the device.
"""

import dataclasses

import jax
import optax

from tpu_lm.tree import Tree

HOST = 'pinned_host'  # what jax calls it, on every backend


def placed(optimizer, shardings: Tree, state: Tree) -> Tree:
  """The same shardings, or with the optimizer's arrays in the host's memory.

  Scalars stay on the devices.

  Args:
    optimizer: its `offload`, if it has such a field, says whether.
    shardings: a training state of `NamedSharding`s.
    state: the training state, or its shapes.
  """
  if not getattr(optimizer, 'offload', None):
    return shardings
  moved = jax.tree.map(
    lambda place, leaf: place.with_memory_kind(HOST) if leaf.ndim else place,
    shardings.optimizer,
    state.optimizer,
  )
  return dataclasses.replace(shardings, optimizer=moved)


def in_device_memory(state: Tree) -> Tree:
  """Within jit: the arrays where they can be computed with."""
  return jax.device_put(state, jax.memory.Space.Device)


def offloaded(
  optimizer: optax.GradientTransformation,
) -> optax.GradientTransformation:
  """The same optimizer, for a state of which arrays may be on the host.

  Where the state goes afterwards is said by the shardings of the jitted step.
  """

  def update(gradients, state, params=None):
    return optimizer.update(gradients, in_device_memory(state), params)

  return optax.GradientTransformation(optimizer.init, update)
