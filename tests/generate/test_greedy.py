import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tpu_lm.generate.greedy import greedy

MODEL = tiny.encoder_decoder()


def batch_of(rows):
  batch = tiny.batch(rows=rows)
  segments = np.ones_like(batch['encoder_segments'])
  segments[0, 9:] = 0
  return {
    'encoder_inputs': batch['encoder_inputs'],
    'encoder_segments': segments,
    'encoder_positions': np.tile(np.arange(20, dtype=np.int32), (rows, 1)),
  }


APPLY = jax.jit(MODEL.apply)


def one_by_one(params, batch, length, end):
  """The same by the model alone: a whole row for each token that it writes."""
  rows = len(batch['encoder_inputs'])
  tokens = np.zeros((rows, length + 1), np.int32)
  places = np.arange(length, dtype=np.int32)
  for place in range(length):
    read = batch | {
      'inputs': tokens[:, :-1],
      'segments': np.ones((rows, length), np.int32),
      'positions': np.tile(places, (rows, 1)),
    }
    logits = APPLY(params, read).logits_BSV[:, place]
    tokens[:, place + 1] = np.argmax(logits, 1)
  written = tokens[:, 1:]
  ended = np.cumsum(written == end, axis=1) > 0
  return np.where(ended, -1, written)


@pytest.mark.parametrize('length', [5, 40])
def test_equals_the_model_a_token_at_a_time(length):
  params = MODEL.init(jax.random.key(0))
  params = jax.tree.map(lambda x: 3 * x, params)  # so that tokens differ
  batch = batch_of(4)
  free = one_by_one(params, batch, length, end=-1)
  assert len(np.unique(free)) > 3
  end = int(free[1, 2])  # the second row ends here, at the latest
  want = one_by_one(params, batch, length, end)
  got = greedy(MODEL, params, batch, length=length, start=0, end=end)
  np.testing.assert_array_equal(got, want)
  assert got.dtype == jnp.int32 and got.shape == (4, length)


def test_ends_when_all_have_ended():
  params = MODEL.init(jax.random.key(0))
  batch = batch_of(1)
  first = int(one_by_one(params, batch, 1, -1)[0, 0])
  got = greedy(MODEL, params, batch, length=200, start=0, end=first)
  assert got.shape == (1, 200) and np.all(got == -1)
