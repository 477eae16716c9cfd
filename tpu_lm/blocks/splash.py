"""Attention in blocks that never holds the S x T logits: splash, on TPUs.

The kernel is jax's own (`jax.experimental.pallas.ops.tpu.splash_attention`).
It skips blocks of which nothing is seen. Elsewhere than on TPUs it runs
interpreted: right, and very slow.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu import splash_attention as splash
from jax.sharding import PartitionSpec

from tpu_lm import shapes
from tpu_lm.blocks.visibility import Visibility
from tpu_lm.sharding import partition_spec, platform

BLOCKS = (512, 256, 128)
AXES = (shapes.BATCH, shapes.HEADS, shapes.SEQUENCE, shapes.HEAD_DIM)
UNKNOWN = ('bias', 'dropout', 'prefix')  # of `attention.NEEDS`
NO_DOCUMENT = -1  # no query's segment: what has it is seen by none


def lacks(
  query_shape: tuple[int, ...],
  keys: int,
  visibility: Visibility,
) -> str | None:
  """Why the kernel can't be used for such arrays, or None where it can.

  Args:
    query_shape: B, S, H, K.
    keys: T.
    visibility: what is seen.
  """
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
  kept_BT: jax.Array | None = None,
  sinks_H: jax.Array | None = None,
  scale: float | None = None,
  softcap: float | None = None,
) -> jax.Array:
  """As `attend.attend`, for what `lacks` has nothing against.

  Rows and heads are split over the mesh as its rules say. Where the mesh
  splits sequences, each device has all keys of its rows, and its own queries.

  The kernel's mask is fixed when it is compiled, and where documents begin is
  known when it runs, by segments only. So with keys that no window hides all
  keys are there twice: once for queries near them, and once for those further
  away, where all but the kept ones are of no document. Each pair of query and
  key is gone through once, as without a window; what is far costs time, seen or
  not, and the logits are never held.

  Args:
    query_BSHK: queries, already position-encoded.
    key_BTNK: keys, likewise; each serves H / N query heads.
    value_BTNK: values.
    visibility: what is seen.
    window: how many tokens back, as of `attention.Attention.windows`; 0: all.
    kept_BT: bool, keys that no window hides, as of `visibility.within`.
    sinks_H: f32, as of `attend.attend`.
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
  key_segments_BT = visibility.key_segments_BT
  if kept_BT is not None and 0 < window < max(shape):
    seen = _Twice(shape, window, visibility.causal)
    key_BTNK, value_BTNK = (
      jnp.concatenate([x, x], axis=1) for x in (key_BTNK, value_BTNK)
    )
    far_BT = jnp.where(kept_BT, key_segments_BT, NO_DOCUMENT)
    key_segments_BT = jnp.concatenate([key_segments_BT, far_BT], axis=1)
  else:
    seen = _static(shape, window, visibility.causal, sequence_shards)
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

  def run(kernel, sinks_H, query_BHSK, key_BNTK, value_BNTK, query_BS, key_BT):
    segments = splash.SegmentIds(query_BS, key_BT)
    sinks_BH = None
    if sinks_H is not None:
      # Each row has its own, so that their gradients are added in float32.
      rows = len(query_BHSK), len(sinks_H)
      sinks_BH = _float32_gradient(jnp.broadcast_to(sinks_H, rows))
    return jax.vmap(kernel)(
      query_BHSK, key_BNTK, value_BNTK, segments, sinks_BH
    )

  arrays = (
    (query_BSHK * scale).swapaxes(1, 2),
    key_BTNK.swapaxes(1, 2),
    value_BTNK.swapaxes(1, 2),
    visibility.query_segments_BS,
    key_segments_BT,
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
      run,
      in_specs=(places, PartitionSpec(split), *specs),
      out_specs=specs[0],
      check_vma=False,
    )
  return run(kernel, sinks_H, *arrays).swapaxes(1, 2)


@jax.custom_vjp
def _float32_gradient(x: jax.Array) -> jax.Array:
  """`x`; the kernel gives the gradient of sinks in the dtype of queries."""
  return x


_float32_gradient.defvjp(
  lambda x: (x, None), lambda _, gradient: (gradient.astype(jnp.float32),)
)


@dataclasses.dataclass(frozen=True)
class _Twice(splash.Mask):
  """Keys twice: those near the query of the first, the others of the second.

  Attributes:
    once: S, T.
    window: how many tokens are near.
    causal: whether later keys are hidden.
  """

  once: tuple[int, int]
  window: int
  causal: bool

  @property
  def shape(self) -> tuple[int, int]:
    """S, 2 T."""
    return self.once[0], 2 * self.once[1]

  def __getitem__(self, places: tuple[slice, slice]) -> np.ndarray:
    query, key = (
      np.arange(size)[place]
      for size, place in zip(self.shape, places, strict=True)
    )
    second, key = np.divmod(key, self.once[1])
    back_ST = query[:, None] - key[None, :]
    seen_ST = (np.abs(back_ST) >= self.window) == second.astype(bool)
    return seen_ST & (back_ST >= 0) if self.causal else seen_ST


def _static(
  shape: tuple[int, int], window: int, causal: bool, shards: int
) -> splash.Mask:
  """Which places see which, whatever is in them."""
  if causal:
    seen = splash.CausalMask(shape, shard_count=shards)
  else:
    seen = splash.FullMask(shape)
  if not window:
    return seen
  near = splash.LocalMask(
    shape, (window - 1, window - 1), 0, shard_count=shards
  )
  return near & seen if causal else near


def _shards(axis: str, size: int) -> int:
  """Parts into which the mesh splits a dimension."""
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return 1
  (names,) = partition_spec((axis,), (size,), mesh)
  return mesh.shape[names] if names else 1


def _block(size: int) -> int:
  return next(block for block in BLOCKS if size % block == 0)
