"""Products of tokens with the matrices of the experts that they chose.

Nothing is dropped and nothing padded to a capacity (Gale et al. 2022,
"MegaBlocks"): assignments are sorted by expert, and each expert multiplies a
run of rows, however long. What that costs on which device: `grouped.py`.

Where the mesh axis `expert` splits the experts, its n devices gather each
other's tokens, each goes through its own experts, and sums are scattered back:
the "ring of experts" of MaxText. Shapes are fixed and loads may be as uneven as
they like; the price is that each device holds rows for the assignments of all n
devices' tokens, though on average only one in n is multiplied there.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from tpu_lm import shapes
from tpu_lm.blocks.grouped import multiply
from tpu_lm.blocks.parameter import PRODUCT
from tpu_lm.sharding import partition_spec, platform

AXIS = 'expert'
TOKENS = (shapes.BATCH, shapes.SEQUENCE)
INTO = (shapes.EXPERTS, shapes.EMBED, shapes.MLP)
OUT_OF = (shapes.EXPERTS, shapes.MLP, shapes.EMBED)


class Stacks(NamedTuple):
  """The matrices of all experts; `gate_EDF` is None where there is none."""

  gate_EDF: jax.Array | None
  up_EDF: jax.Array
  down_EFD: jax.Array


class Rule(NamedTuple):
  """What is the same everywhere; hashable. None: no mesh axis splits it.

  Attributes:
    kernel: as of `grouped.multiply`.
    rows: mesh axes that split the rows of the batch.
    experts: of the stacks.
    embed: of the stacks; gathered before use.
    mlp: of the stacks; products with `down` are parts of sums.
  """

  kernel: bool
  rows: tuple[str, ...] = ()
  experts: str | None = None
  embed: str | None = None
  mlp: str | None = None


def choose(share_BSE: jax.Array, chosen: int) -> tuple[jax.Array, jax.Array]:
  """The largest shares of each token and whose they are, [B, S, C] each."""
  largest = functools.partial(jax.lax.top_k, k=chosen)
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return largest(share_BSE)
  # Left to XLA, all tokens would be gathered on each device for it.
  split = partition_spec(TOKENS, share_BSE.shape[:2], mesh)
  run = jax.shard_map(
    largest, in_specs=split, out_specs=[split, split], check_vma=False
  )
  return run(share_BSE)


def through_experts(
  x_BSD: jax.Array,
  chosen_BSC: jax.Array,
  weight_BSC: jax.Array,
  stacks: Stacks,
  activation: Callable[[jax.Array], jax.Array],
) -> jax.Array:
  """The sum of weight * expert(x) over the experts of each token.

  Args:
    x_BSD: what the experts read.
    chosen_BSC: i32, the C experts of each token; one that is not there (the
      number of experts, say) gives nothing.
    weight_BSC: f32.
    stacks: in the dtype of `x_BSD`.
    activation: of the hidden values.

  Returns:
    [B, S, D] in the dtype of `x_BSD`; sums over C are taken in float32, sums
    over devices in that dtype.
  """
  mesh, kernel = jax.sharding.get_abstract_mesh(), platform() == 'tpu'
  if mesh.empty:
    rule = Rule(kernel)
    return _run(rule, activation, x_BSD, chosen_BSC, weight_BSC, stacks)
  split = partition_spec(TOKENS, x_BSD.shape[:2], mesh)
  into = partition_spec(INTO, stacks.up_EDF.shape, mesh)
  out_of = partition_spec(OUT_OF, stacks.down_EFD.shape, mesh)
  rows = (split[0],) if isinstance(split[0], str) else split[0] or ()
  run = jax.shard_map(
    functools.partial(_run, Rule(kernel, rows, *into), activation),
    in_specs=(
      *(split,) * 3,
      Stacks(None if stacks.gate_EDF is None else into, into, out_of),
    ),
    out_specs=split,
    check_vma=False,
  )
  return run(x_BSD, chosen_BSC, weight_BSC, stacks)


def _run(
  rule: Rule,
  activation: Callable,
  x_BSD: jax.Array,
  chosen_BSC: jax.Array,
  weight_BSC: jax.Array,
  stacks: Stacks,
) -> jax.Array:
  """One device's part: its experts, for the tokens of all along `AXIS`."""
  shared = rule.experts is not None and AXIS in rule.rows
  if shared:
    x_BSD, chosen_BSC, weight_BSC = (
      jax.lax.all_gather(part, AXIS, axis=0, tiled=True)
      for part in (x_BSD, chosen_BSC, weight_BSC)
    )
  if rule.embed is not None:
    gathered = functools.partial(
      jax.lax.all_gather, axis_name=rule.embed, tiled=True
    )
    gate, up, down = stacks
    stacks = Stacks(
      None if gate is None else gathered(gate, axis=1),
      gathered(up, axis=1),
      gathered(down, axis=2),
    )
  first = 0
  if rule.experts is not None:
    first = jax.lax.axis_index(rule.experts) * len(stacks.up_EDF)
  out_TD = _multiplied(
    x_BSD.reshape(-1, x_BSD.shape[-1]),
    chosen_BSC.reshape(-1, chosen_BSC.shape[-1]) - first,
    weight_BSC.reshape(-1, weight_BSC.shape[-1]),
    stacks,
    activation,
    rule.kernel,
  )
  out_BSD = out_TD.reshape(x_BSD.shape)
  if shared:
    out_BSD = jax.lax.psum_scatter(out_BSD, AXIS, tiled=True)
  elif rule.experts is not None:
    out_BSD = jax.lax.psum(out_BSD, rule.experts)
  if rule.mlp is not None:
    out_BSD = jax.lax.psum(out_BSD, rule.mlp)
  return out_BSD


def _multiplied(
  x_TD: jax.Array,
  chosen_TC: jax.Array,
  weight_TC: jax.Array,
  stacks: Stacks,
  activation: Callable,
  kernel: bool,
) -> jax.Array:
  """[T, D], of the experts that are in `stacks`, counted from 0."""
  experts, chosen = len(stacks.up_EDF), chosen_TC.shape[1]
  expert_A = chosen_TC.reshape(-1)
  here_A = (expert_A >= 0) & (expert_A < experts)
  # Those of no expert here come last and are in no group.
  expert_A = jnp.where(here_A, expert_A, experts)
  order_A = jnp.argsort(expert_A)
  own_AE = expert_A[:, None] == jnp.arange(experts)
  sizes_E = jnp.sum(own_AE, axis=0, dtype=jnp.int32)
  # What a product gives for rows of no group is not said: take it for nothing.
  here_A1 = (jnp.arange(len(order_A)) < jnp.sum(sizes_E))[:, None]
  product = functools.partial(multiply, kernel, sizes_E=sizes_E)
  x_AD = jnp.where(here_A1, _spread(chosen, order_A, x_TD), 0)
  hidden_AF = checkpoint_name(product(x_AD, stacks.up_EDF), PRODUCT)
  if stacks.gate_EDF is None:
    hidden_AF = activation(hidden_AF)
  else:
    gate_AF = checkpoint_name(product(x_AD, stacks.gate_EDF), PRODUCT)
    hidden_AF = activation(gate_AF) * hidden_AF
  # Weighted before the last product, not after: it is the same, and the
  # backward pass then needs that product for nothing.
  weight_A1 = _spread(1, order_A, weight_TC.reshape(-1, 1))
  hidden_AF = (hidden_AF * weight_A1).astype(x_TD.dtype)
  out_AD = jnp.where(here_A1, product(hidden_AF, stacks.down_EFD), 0)
  out_TD = _collected(chosen, order_A, out_AD)
  return checkpoint_name(out_TD, PRODUCT)


# Each is the transpose of the other; without that, gradients would be scattered
# where they can be gathered, which TPUs do faster.
@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _spread(chosen: int, order_A: jax.Array, x_TD: jax.Array) -> jax.Array:
  """Each token as often as it has experts, in the order of the experts."""
  return x_TD[order_A // chosen]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _collected(chosen: int, order_A: jax.Array, x_AD: jax.Array) -> jax.Array:
  """The sum over the experts of each token, in the order of the tokens."""
  x_TCD = x_AD[jnp.argsort(order_A)].reshape(-1, chosen, x_AD.shape[1])
  return jnp.sum(x_TCD, axis=1, dtype=jnp.float32).astype(x_AD.dtype)


_spread.defvjp(
  lambda chosen, order_A, x_TD: (_spread(chosen, order_A, x_TD), order_A),
  lambda chosen, order_A, grad_AD: (None, _collected(chosen, order_A, grad_AD)),
)
_collected.defvjp(
  lambda chosen, order_A, x_AD: (_collected(chosen, order_A, x_AD), order_A),
  lambda chosen, order_A, grad_TD: (None, _spread(chosen, order_A, grad_TD)),
)
