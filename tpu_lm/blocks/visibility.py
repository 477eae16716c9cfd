"""Which tokens see which: as a mask, and as what kernels make of it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Visibility(NamedTuple):
  """What the queries of rows may see.

  The mask says all of it. A kernel that goes through keys in blocks never
  holds a mask, and reads the rest; what is not used is not computed.

  Attributes:
    mask: bool[B, 1, 1, S, T].
    query_segments_BS: i32, documents of the queries; 0 is padding.
    key_segments_BT: i32, of the keys.
    causal: whether later keys are hidden.
    prefix: whether the mask shows more than that: prefixes, to all.
  """

  mask: jax.Array
  query_segments_BS: jax.Array
  key_segments_BT: jax.Array
  causal: bool
  prefix: bool = False


def causal(segments_BS: jax.Array) -> Visibility:
  """A key is seen if it is not later than the query and of the same document.

  Padding (segment 0) sees padding, so that no row of a softmax is empty.
  """
  order = jnp.arange(segments_BS.shape[1])
  earlier_ST = order[:, None] >= order[None, :]
  mask = _same(segments_BS, segments_BS) & earlier_ST
  return Visibility(mask, segments_BS, segments_BS, causal=True)


def prefix(segments_BS: jax.Array, prefix_BS: jax.Array) -> Visibility:
  """As `causal`, and keys of the prefix are seen by all of a document."""
  seen = causal(segments_BS)
  shown = _same(segments_BS, segments_BS) & (prefix_BS > 0)[:, None, None, None]
  return seen._replace(mask=seen.mask | shown, prefix=True)


def both_ways(query_BS: jax.Array, key_BT: jax.Array) -> Visibility:
  """Keys of the same document, earlier or later; from segments."""
  return Visibility(_same(query_BS, key_BT), query_BS, key_BT, causal=False)


def within(
  mask: jax.Array,
  window: jax.Array | int,
  kept_BT: jax.Array | None = None,
) -> jax.Array:
  """Hides keys `window` tokens from the query and further; 0 hides none.

  Args:
    mask: bool[B, 1, 1, S, T].
    window: i32[].
    kept_BT: bool, keys that no window hides; None: there are none.
  """
  query, key = jnp.arange(mask.shape[-2]), jnp.arange(mask.shape[-1])
  near = jnp.abs(query[:, None] - key[None, :]) < window
  if kept_BT is not None:
    near = near | kept_BT[:, None, None, None, :]
  return mask & (near | (window == 0))


def initial(segments_BT: jax.Array, count: int) -> jax.Array:
  """Whether a token is among the first of its document in the row.

  Args:
    segments_BT: i32, documents; the tokens of one lie together.
    count: how many are the first.

  Returns:
    bool[B, T].
  """
  place_BT = jnp.broadcast_to(
    jnp.arange(segments_BT.shape[1]), segments_BT.shape
  )
  before_BT = jnp.roll(segments_BT, 1, axis=1)
  begins_BT = (segments_BT != before_BT).at[:, 0].set(True)
  begin_BT = jax.lax.cummax(jnp.where(begins_BT, place_BT, 0), axis=1)
  return place_BT - begin_BT < count


def _same(query_BS: jax.Array, key_BT: jax.Array) -> jax.Array:
  return (query_BS[:, :, None] == key_BT[:, None, :])[:, None, None]
