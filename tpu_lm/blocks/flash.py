"""Attention in blocks that never holds the S x T logits: flash, on GPUs.

The kernel is jax's own (`jax.experimental.pallas.ops.gpu.attention`), in
Triton, after Dao (2023), "FlashAttention-2". Elsewhere than on GPUs it runs
interpreted: right, and very slow. So far it was lowered to Triton, and has run
on no GPU.
"""

import jax
from jax.experimental.pallas.ops.gpu import attention
from jax.sharding import PartitionSpec

from tpu_lm import shapes
from tpu_lm.blocks.visibility import Visibility
from tpu_lm.sharding import partition_spec, platform

UNKNOWN = (
  'bias',
  'dropout',
  'prefix',
  'window',
  'initial_tokens',
  'sinks',
  'softcap',
)
BLOCKS = (128, 64, 32, 16)  # Triton's products have 16 rows at the least
BACKWARD = 64  # at the most: a backward pass keeps more of a block in registers
AXES = (shapes.BATCH, shapes.SEQUENCE, shapes.HEADS, shapes.HEAD_DIM)


def lacks(
  query_shape: tuple[int, ...],
  keys: int,
  visibility: Visibility,
) -> str | None:
  """Why the kernel can't be used, or None where it can; as `splash.lacks`."""
  if visibility.query_segments_BS is not visibility.key_segments_BT:
    return 'its queries and keys are of the same row'
  if query_shape[1] % BLOCKS[-1]:
    return f'{query_shape[1]} tokens are no multiple of {BLOCKS[-1]}'
  mesh = jax.sharding.get_abstract_mesh()
  if not mesh.empty and mesh.shape['sequence'] > 1:
    return 'it needs whole rows on a device, and Mesh.sequence splits them'
  return None


def attend(
  query_BSHK: jax.Array,
  key_BSNK: jax.Array,
  value_BSNK: jax.Array,
  visibility: Visibility,
  window: int,
  *,
  kept_BT: None = None,
  sinks_H: None = None,
  scale: float | None = None,
  softcap: None = None,
) -> jax.Array:
  """As `splash.attend`, for what `lacks` has nothing against.

  The kernel knows no groups, so keys and values are there once for each query
  head.
  """
  _, length, heads, head_dim = query_BSHK.shape
  repeat = heads // key_BSNK.shape[2]
  block = next(size for size in BLOCKS if length % size == 0)
  smaller = min(block, BACKWARD)

  def run(query_BSHK, key_BSHK, value_BSHK, segments_BS):
    return attention.mha(
      query_BSHK,
      key_BSHK,
      value_BSHK,
      segments_BS,
      sm_scale=head_dim**-0.5 if scale is None else scale,
      causal=visibility.causal,
      block_sizes=attention.BlockSizes(block, block, *[smaller] * 4),
      interpret=platform() != 'gpu',
    )

  mesh = jax.sharding.get_abstract_mesh()
  if not mesh.empty:
    spec = partition_spec(AXES, query_BSHK.shape, mesh)
    rows = PartitionSpec(*spec[:2])
    run = jax.shard_map(
      run, in_specs=(spec,) * 3 + (rows,), out_specs=spec, check_vma=False
    )
  return run(
    query_BSHK,
    key_BSNK.repeat(repeat, axis=2),
    value_BSNK.repeat(repeat, axis=2),
    visibility.query_segments_BS,
  )
