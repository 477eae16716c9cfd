"""Gradients of a sum over micro-batches, to be divided once."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from tpu_lm.tree import Tree


def accumulate(
  loss_sum: Callable,
  params: Tree,
  batch: dict[str, jax.Array],
  rng: jax.Array,
  micro_batches: int,
) -> tuple[Tree, dict]:
  """Sums gradients and metrics of `loss_sum` over parts of the batch.

  Because sums are added and the division by the weight comes later, parts
  with unequal weights (padding, masked targets) count for what they hold:
  the mean of means would not be the mean.

  Args:
    loss_sum: (params, batch, rng) -> (f32[] sum over tokens, metrics of sums).
    params: nested dicts of arrays.
    batch: arrays with B rows; `micro_batches` divides B.
    rng: a key; each part folds in its index.
    micro_batches: number of parts, run one after another.

  Returns:
    (gradients, metrics), sums over the whole batch.
  """
  gradient = jax.grad(loss_sum, has_aux=True)
  if micro_batches == 1:
    return gradient(params, batch, jax.random.fold_in(rng, 0))

  def part(x):
    # Every device keeps rows of its own in each part: [B] -> [B/M, M] -> M
    # leading, where [B] -> [M, B/M] would move rows between devices.
    return jnp.moveaxis(x.reshape(-1, micro_batches, *x.shape[1:]), 1, 0)

  def add(sums, indexed):
    index, micro = indexed
    new = gradient(params, micro, jax.random.fold_in(rng, index))
    return jax.tree.map(jnp.add, sums, new), None

  parts = jax.tree.map(part, batch)
  first = jax.tree.map(lambda x: x[0], parts)
  shapes = jax.eval_shape(gradient, params, first, rng)
  zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
  return jax.lax.scan(add, zeros, (jnp.arange(micro_batches), parts))[0]
