"""Attention over sequences that no device holds whole: keys go round a ring.

Liu et al. (2023), "Ring Attention with Blockwise Transformers for Near-Infinite
Context", section 3. Each device keeps its queries; keys and values, with the
documents they are of, are passed on until every device has seen all. Within a
device they are gone through in blocks, by the online softmax of Milakov and
Gimelshein (2018), so that neither all keys nor all logits are ever held. The
backward pass goes round once more and computes the logits again (Dao et al.
2022, algorithm 4).

On one device it is attention in blocks. Devices hold neighbouring tokens, so
under a causal mask the first ones wait for the last, which has something to see
in every block.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from tpu_lm import shapes
from tpu_lm.blocks.activations import capped
from tpu_lm.blocks.attend import MASKED
from tpu_lm.blocks.visibility import Visibility
from tpu_lm.sharding import partition_spec

AXIS = 'sequence'
UNKNOWN = ('bias', 'dropout', 'prefix', 'initial_tokens', 'sinks')
BLOCK = 512  # keys at a time
ROWS = (shapes.BATCH, shapes.SEQUENCE)


class Keys(NamedTuple):
  """What goes round: of one device, T / n of the keys."""

  key_BTNK: jax.Array
  value_BTNK: jax.Array
  segments_BT: jax.Array


class Rule(NamedTuple):
  """What is the same everywhere; hashable.

  Attributes:
    devices: that a sequence is split over.
    causal: whether later keys are hidden.
    window: as of `splash.attend`.
    scale: of the logits.
    softcap: of the logits, or None.
  """

  devices: int
  causal: bool
  window: int
  scale: float
  softcap: float | None


def lacks(
  query_shape: tuple[int, ...],
  keys: int,
  visibility: Visibility,
) -> str | None:
  """Why the ring can't be used, or None where it can; as `splash.lacks`."""
  queries = query_shape[1]
  split = _devices()
  if queries % split or keys % split:
    return f'{queries} queries or {keys} keys do not divide by {split} devices'
  return None


def attend(
  query_BSHK: jax.Array,
  key_BTNK: jax.Array,
  value_BTNK: jax.Array,
  visibility: Visibility,
  window: int,
  *,
  kept_BT: None = None,
  sinks_H: None = None,
  scale: float | None = None,
  softcap: float | None = None,
) -> jax.Array:
  """As `splash.attend`, for what `lacks` has nothing against."""
  mesh = jax.sharding.get_abstract_mesh()
  heads, head_dim = query_BSHK.shape[2:]
  scale = head_dim**-0.5 if scale is None else scale
  rule = Rule(_devices(), visibility.causal, window, scale, softcap)
  keys = Keys(key_BTNK, value_BTNK, visibility.key_segments_BT)
  if mesh.empty:
    return _attend(rule, query_BSHK, visibility.query_segments_BS, keys)
  head_axes = (*ROWS, shapes.HEADS, shapes.HEAD_DIM)
  query_spec = partition_spec(head_axes, query_BSHK.shape, mesh)
  key_spec = partition_spec(head_axes, key_BTNK.shape, mesh)
  if key_spec[2] != query_spec[2]:
    # Fewer key heads than shards: each shard gets those that its queries use.
    repeat = heads // key_BTNK.shape[2]
    keys = keys._replace(
      key_BTNK=key_BTNK.repeat(repeat, axis=2),
      value_BTNK=value_BTNK.repeat(repeat, axis=2),
    )
    key_spec = query_spec
  rows = PartitionSpec(*query_spec[:2])
  run = jax.shard_map(
    functools.partial(_attend, rule),
    in_specs=(query_spec, rows, Keys(key_spec, key_spec, rows)),
    out_specs=query_spec,
    check_vma=False,
  )
  return run(query_BSHK, visibility.query_segments_BS, keys)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(
  rule: Rule, query_BSHK: jax.Array, segments_BS: jax.Array, keys: Keys
) -> jax.Array:
  """One device's queries, and the keys of all: [B, S / n, H, K]."""
  return _forward(rule, query_BSHK, segments_BS, keys)[0]


def _forward(rule: Rule, query_BSHK, segments_BS, keys: Keys):
  query_BNGSK = _grouped(query_BSHK, keys)
  shape_BNGS = query_BNGSK.shape[:-1]

  def block(state, block, places_T):
    most, total, out_BNGSK = state
    logits, _ = _logits(rule, query_BNGSK, segments_BS, block, places_T)
    higher = jnp.maximum(most, logits.max(-1))
    weights_BNGST = jnp.exp(logits - higher[..., None])
    before = jnp.exp(most - higher)
    new = jnp.einsum(
      'BNGST,BTNK->BNGSK',
      weights_BNGST.astype(block.value_BTNK.dtype),
      block.value_BTNK,
      preferred_element_type=jnp.float32,
    )
    total = total * before + weights_BNGST.sum(-1)
    return (higher, total, out_BNGSK * before[..., None] + new), None

  def turn(carry, step):
    keys, state = carry
    state, _ = _blocks(rule, block, state, keys, step)
    return (_passed_on(rule, keys), state), None

  begin = (
    jnp.full(shape_BNGS, MASKED, jnp.float32),
    jnp.zeros(shape_BNGS, jnp.float32),
    jnp.zeros(query_BNGSK.shape, jnp.float32),
  )
  steps = jnp.arange(rule.devices)
  (_, (most, total, out)), _ = jax.lax.scan(turn, (keys, begin), steps)
  out_BNGSK = out / total[..., None]
  result = _ungrouped(out_BNGSK).astype(query_BSHK.dtype)
  return result, (query_BSHK, segments_BS, keys, most, total, out_BNGSK)


def _backward(rule: Rule, saved, grad_BSHK):
  query_BSHK, segments_BS, keys, most, total, out_BNGSK = saved
  query_BNGSK = _grouped(query_BSHK, keys)
  grad_BNGSK = _grouped(grad_BSHK, keys)
  dtype = query_BSHK.dtype
  # Rows of the softmax's Jacobian: the same for all keys.
  delta_BNGS = jnp.sum(grad_BNGSK.astype(jnp.float32) * out_BNGSK, axis=-1)

  def product(text: str, *operands) -> jax.Array:
    return jnp.einsum(text, *operands, preferred_element_type=jnp.float32)

  def block(grad_query, block, places_T):
    logits, slope = _logits(rule, query_BNGSK, segments_BS, block, places_T)
    weights = jnp.exp(logits - most[..., None]) / total[..., None]
    grad_value = product('BNGST,BNGSK->BTNK', weights.astype(dtype), grad_BNGSK)
    grad_weights = product('BNGSK,BTNK->BNGST', grad_BNGSK, block.value_BTNK)
    grad_logits = weights * (grad_weights - delta_BNGS[..., None]) * slope
    grad_logits = grad_logits.astype(dtype)
    grad_query += product('BNGST,BTNK->BNGSK', grad_logits, block.key_BTNK)
    grad_key = product('BNGST,BNGSK->BTNK', grad_logits, query_BNGSK)
    return grad_query, (grad_key, grad_value)

  def turn(carry, step):
    keys, grad_keys, grad_query = carry
    grad_query, new = _blocks(rule, block, grad_query, keys, step)
    grad_keys = jax.tree.map(jnp.add, grad_keys, new)
    return (*_passed_on(rule, (keys, grad_keys)), grad_query), None

  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), keys[:2])
  begin = keys, zeros, jnp.zeros(query_BNGSK.shape, jnp.float32)
  # After as many turns as there are devices all are home again.
  (_, (grad_key, grad_value), grad_query), _ = jax.lax.scan(
    turn, begin, jnp.arange(rule.devices)
  )
  own = Keys(
    grad_key.astype(keys.key_BTNK.dtype),
    grad_value.astype(keys.value_BTNK.dtype),
    None,
  )
  return _ungrouped(grad_query).astype(dtype), None, own


_attend.defvjp(_forward, _backward)


def _blocks(rule: Rule, block, state, keys: Keys, step):
  """Goes through the keys that are here at a turn, in blocks."""
  length = keys.segments_BT.shape[1]
  size = next(n for n in range(min(BLOCK, length), 0, -1) if length % n == 0)
  owner = (_index(rule) - step) % rule.devices

  def cut(x):  # [B, T, ...] -> [blocks, B, size, ...]
    x = x.reshape(x.shape[0], -1, size, *x.shape[2:])
    return x.swapaxes(0, 1)

  places = owner * length + jnp.arange(length)

  def body(state, part):
    return block(state, *part)

  parts = jax.tree.map(cut, keys), places.reshape(-1, size)
  state, made = jax.lax.scan(body, state, parts)
  return state, jax.tree.map(_joined, made)


def _joined(x):  # [blocks, B, size, ...] -> [B, T, ...]
  x = x.swapaxes(0, 1)
  return x.reshape(x.shape[0], -1, *x.shape[3:])


def _logits(rule: Rule, query_BNGSK, segments_BS, block: Keys, places_T):
  """Logits [B, N, G, S, T] of a block, and their slope after scale and cap."""
  # What is seen depends on no weights: in layers that are scanned, JAX would
  # work it out beforehand for all blocks, and hold S x T of it.
  query_BNGSK, segments_BS, block, places_T = jax.lax.optimization_barrier(
    (query_BNGSK, segments_BS, block, places_T)
  )
  raw = rule.scale * jnp.einsum(
    'BNGSK,BTNK->BNGST',
    query_BNGSK,
    block.key_BTNK,
    preferred_element_type=jnp.float32,
  )
  logits, slope = capped(raw, rule.softcap), rule.scale
  if rule.softcap is not None:
    slope = rule.scale * (1 - (logits / rule.softcap) ** 2)
  length = segments_BS.shape[1]
  own_S = _index(rule) * length + jnp.arange(length)
  back_ST = own_S[:, None] - places_T[None, :]
  seen_BST = segments_BS[:, :, None] == block.segments_BT[:, None, :]
  if rule.causal:
    seen_BST &= back_ST >= 0
  if rule.window:
    seen_BST &= jnp.abs(back_ST) < rule.window
  seen = seen_BST[:, None, None]
  return jnp.where(seen, logits, MASKED), jnp.where(seen, slope, 0.0)


def _passed_on(rule: Rule, what):
  """To the next device of the ring, from the one before."""
  if rule.devices == 1:
    return what
  ring = [(here, (here + 1) % rule.devices) for here in range(rule.devices)]
  return jax.tree.map(lambda x: jax.lax.ppermute(x, AXIS, ring), what)


def _index(rule: Rule):
  return 0 if rule.devices == 1 else jax.lax.axis_index(AXIS)


def _devices() -> int:
  mesh = jax.sharding.get_abstract_mesh()
  return 1 if mesh.empty else mesh.shape[AXIS]


def _grouped(x_BSHK, keys: Keys):
  batch, length, _, head_dim = x_BSHK.shape
  kv_heads = keys.key_BTNK.shape[2]
  grouped = x_BSHK.reshape(batch, length, kv_heads, -1, head_dim)
  return grouped.transpose(0, 2, 3, 1, 4)


def _ungrouped(x_BNGSK):
  batch, _, _, length, head_dim = x_BNGSK.shape
  return x_BNGSK.transpose(0, 3, 1, 2, 4).reshape(batch, length, -1, head_dim)
