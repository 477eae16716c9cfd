"""Greedy decoding for encoder-decoders."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from tpu_lm.sharding import constrain
from tpu_lm.tree import Tree

SHORTEST = 16  # places at first; doubled as they are filled


def greedy(
  model,
  params: Tree,
  batch: dict[str, jax.Array],
  *,
  length: int,
  start: int,
  end: int,
) -> np.ndarray:
  """Writes the likeliest token, again and again, until each row has ended.

  The encoder runs once. For every token the decoder runs over all that was
  written: there is no cache of keys and values. Rows that have ended wait for
  the longest.

  Args:
    model: of the kind `encoder_decoder`.
    params: its parameters.
    batch: encoder_inputs, encoder_segments, encoder_positions i32[B, E], one
      text a row, of segment 1.
    length: T, the most tokens that are written.
    start: what the decoder reads first.
    end: closes a text.

  Returns:
    i32[B, T]: what was written, without the end, padded with -1.
  """
  encoded_BED = _encode(model, params, batch)
  rows = batch['encoder_inputs'].shape[0]
  # Of NumPy, not of JAX: all processes of a run have them.
  tokens_BT = np.full((rows, 1), start, np.int32)
  ended_B, places = np.zeros(rows, bool), SHORTEST
  while tokens_BT.shape[1] <= length and not bool(ended_B.all()):
    tokens_BT, ended_B = _write(
      model,
      params,
      encoded_BED,
      batch['encoder_segments'],
      tokens_BT,
      ended_B,
      min(places, length),
      end,
    )
    places *= 2
  written_BT = np.asarray(tokens_BT)[:, 1:]
  missing = length - written_BT.shape[1]
  return np.pad(written_BT, ((0, 0), (0, missing)), constant_values=-1)


@functools.partial(jax.jit, static_argnums=0)
def _encode(model, params, batch) -> jax.Array:
  return model.encode(params, batch)


@functools.partial(jax.jit, static_argnames=('model', 'places', 'end'))
def _write(
  model,
  params: Tree,
  encoded_BED: jax.Array,
  encoder_segments_BE: jax.Array,
  tokens_BT: jax.Array,
  ended_B: jax.Array,
  places: int,
  end: int,
) -> tuple[jax.Array, jax.Array]:
  """Goes on until `places` tokens are written, or all rows have ended."""
  rows, begun = tokens_BT.shape
  decoder = {
    'encoder_segments': encoder_segments_BE,
    'segments': jnp.ones((rows, places), jnp.int32),
    'positions': jnp.tile(jnp.arange(places, dtype=jnp.int32), (rows, 1)),
  }

  def going_on(state):
    place, _, ended_B = state
    return (place < places) & ~jnp.all(ended_B)

  def write(state):
    place, tokens_BT, ended_B = state
    read = decoder | {'inputs': jnp.maximum(tokens_BT[:, :places], 0)}
    hidden_BSD = model.decode(params, encoded_BED, read)
    here_B1D = jax.lax.dynamic_slice_in_dim(hidden_BSD, place, 1, axis=1)
    logits_BV = model.out(params, here_B1D).logits_BSV[:, 0]
    token_B = jnp.argmax(logits_BV, axis=-1).astype(jnp.int32)
    ended_B |= token_B == end
    token_B = jnp.where(ended_B, -1, token_B)
    return place + 1, tokens_BT.at[:, place + 1].set(token_B), ended_B

  missing = ((0, 0), (0, places + 1 - begun))
  tokens_BT = jnp.pad(tokens_BT, missing, constant_values=-1)
  state = jnp.asarray(begun - 1), tokens_BT, ended_B
  _, tokens_BT, ended_B = jax.lax.while_loop(going_on, write, state)
  # Whole in every process: axes that nothing splits.
  return constrain(tokens_BT, 'whole', 'whole'), constrain(ended_B, 'whole')
