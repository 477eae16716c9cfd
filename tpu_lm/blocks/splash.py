"""Attention in blocks that never holds the S x T logits: splash, on TPUs.

The kernel is jax's own (`jax.experimental.pallas.ops.tpu.splash_attention`).
It skips blocks of which nothing is seen. Elsewhere than on TPUs it runs
interpreted: right, and very slow.
"""

import jax
from jax.experimental.pallas.ops.tpu import splash_attention as splash
from jax.sharding import PartitionSpec

from tpu_lm import shapes
from tpu_lm.blocks.visibility import Visibility
from tpu_lm.sharding import partition_spec, platform

BLOCKS = (512, 256, 128)
AXES = (shapes.BATCH, shapes.HEADS, shapes.SEQUENCE, shapes.HEAD_DIM)


def lacks(
  query_shape: tuple[int, ...],
  keys: int,
  visibility: Visibility,
  *,
  bias: bool,
  dropout: bool,
) -> str | None:
  """Why the kernel can't be used, or None where it can.

  Args:
    query_shape: B, S, H, K.
    keys: T.
    visibility: what is seen.
    bias: whether something is added to logits.
    dropout: whether attention weights are dropped.
  """
  if bias:
    return 'it adds nothing to logits (relative and ALiBi positions do)'
  if dropout:
    return 'it drops no attention weights'
  if visibility.prefix:
    return 'it knows no prefixes'
  length = query_shape[1] // _shards(shapes.SEQUENCE, query_shape[1])
  for name, size in (('queries', length), ('keys', keys)):
    if size % BLOCKS[-1]:
      return f'{size} {name} on a device are no multiple of {BLOCKS[-1]}'
  return None


def attend(
  query_BSHK: jax.Array,
  key_BTNK: jax.Array,
  value_BTNK: jax.Array,
  visibility: Visibility,
  window: int,
  *,
  scale: float | None = None,
  softcap: float | None = None,
) -> jax.Array:
  """As `attend.attend`, for what `lacks` has nothing against.

  Rows and heads are split over the mesh as its rules say. Where the mesh
  splits sequences, each device has all keys of its rows, and its own queries.

  Args:
    query_BSHK: queries, already position-encoded.
    key_BTNK: keys, likewise; each serves H / N query heads.
    value_BTNK: values.
    visibility: what is seen.
    window: how many tokens back, as of `attention.Attention.windows`; 0: all.
    scale: of the logits; None: K^-0.5.
    softcap: see `activations.capped`.

  Returns:
    [B, S, H, K] in the dtype of the queries; the softmax is in float32.
  """
  sequence, heads, head_dim = query_BSHK.shape[1:]
  keys, kv_heads = key_BTNK.shape[1:3]
  scale = head_dim**-0.5 if scale is None else scale
  head_shards = _shards(shapes.HEADS, heads)
  if kv_heads % head_shards:
    # Fewer key heads than shards: each shard gets those that its queries use.
    repeat = heads // kv_heads
    key_BTNK, value_BTNK = (
      x.repeat(repeat, axis=2) for x in (key_BTNK, value_BTNK)
    )
  sequence_shards = _shards(shapes.SEQUENCE, sequence)
  shape = sequence, keys
  if visibility.causal:
    seen = splash.CausalMask(shape, shard_count=sequence_shards)
  else:
    seen = splash.FullMask(shape)
  if window:
    near = splash.LocalMask(
      shape, (window - 1, window - 1), 0, shard_count=sequence_shards
    )
    seen = near & seen if visibility.causal else near
  block_query = _block(sequence // sequence_shards)
  block_key = _block(keys)
  kernel = splash.make_splash_mha(
    mask=splash.MultiHeadMask([seen] * heads),
    block_sizes=splash.BlockSizes(
      block_q=block_query,
      block_kv=block_key,
      block_q_dkv=block_query,
      block_kv_dkv=block_key,
      block_q_dq=block_query,
      block_kv_dq=block_key,
    ),
    head_shards=head_shards,
    q_seq_shards=sequence_shards,
    attn_logits_soft_cap=softcap,
    interpret=platform() != 'tpu',
  )

  def run(kernel, query_BHSK, key_BNTK, value_BNTK, query_BS, key_BT):
    segments = splash.SegmentIds(query_BS, key_BT)
    return jax.vmap(kernel)(query_BHSK, key_BNTK, value_BNTK, segments)

  arrays = (
    (query_BSHK * scale).swapaxes(1, 2),
    key_BTNK.swapaxes(1, 2),
    value_BTNK.swapaxes(1, 2),
    visibility.query_segments_BS,
    visibility.key_segments_BT,
  )
  mesh = jax.sharding.get_abstract_mesh()
  if not mesh.empty:
    rows, split, places, _ = partition_spec(AXES, arrays[0].shape, mesh)
    whole = PartitionSpec(rows, split, None, None)
    specs = (
      PartitionSpec(rows, split, places, None),
      whole,
      whole,
      PartitionSpec(rows, places),
      PartitionSpec(rows, None),
    )
    places = kernel.manual_sharding_spec(
      jax.sharding.NamedSharding(mesh, PartitionSpec(split, places))
    )
    run = jax.shard_map(
      run, in_specs=(places, *specs), out_specs=specs[0], check_vma=False
    )
  return run(kernel, *arrays).swapaxes(1, 2)


def _shards(axis: str, size: int) -> int:
  """Parts into which the mesh splits a dimension."""
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return 1
  (names,) = partition_spec((axis,), (size,), mesh)
  return mesh.shape[names] if names else 1


def _block(size: int) -> int:
  return next(block for block in BLOCKS if size % block == 0)
