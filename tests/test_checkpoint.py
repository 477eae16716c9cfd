"""Checkpoints: whole or not there, and never of another shape than asked."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tpu_lm.checkpoint import Checkpoints
from tpu_lm.checks import UserError
from tpu_lm.state import TrainState


def state(step=3, size=4, fill=1.0) -> TrainState:
  return TrainState(
    step=jnp.asarray(step, jnp.int32),
    params={'a': {'kernel': jnp.full((size, 3), fill)}},
    optimizer={'direction': (jnp.ones(()), {'mu': jnp.zeros(size)})},
    slots={'Freeze': {}, 'L2ToStart': {'a': jnp.ones(2)}},
  )


def shapes(value):
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), value
  )


def saved(folder, *steps, **kwargs):
  checkpoints = Checkpoints(folder / 'checkpoints')
  for step in steps:
    checkpoints.save(state(step, **kwargs), {'step': step, 'text': 'a\nb'})
  checkpoints.wait()
  return checkpoints


def test_round_trip(tmp_path):
  checkpoints = saved(tmp_path, 3)
  restored = checkpoints.restore(3, shapes(state()))
  assert jax.tree.structure(restored) == jax.tree.structure(state())
  jax.tree.map(np.testing.assert_array_equal, restored, state())
  record = checkpoints.record(3)
  assert record.items() >= {'step': 3, 'text': 'a\nb', 'format': 2}.items()
  assert record['arrays']['params/a/kernel']['shape'] == [4, 3]


def test_the_newest_are_kept(tmp_path):
  checkpoints = saved(tmp_path, 1, 2, 5, 30)
  assert checkpoints.steps() == [5, 30]
  assert sorted(p.name for p in checkpoints.directory.iterdir()) == ['30', '5']


@pytest.mark.parametrize(
  ('target', 'message'),
  [
    (state(size=5), r'params.*a/kernel: float32\(4, 3\) against .*\(5, 3\)'),
    (
      dataclasses.replace(state(), params={'b': jnp.ones(1)}),
      'only in the first; b: only in the second',
    ),
    (
      dataclasses.replace(
        state(), params={'a': {'kernel': jnp.ones((4, 3), jnp.bfloat16)}}
      ),
      'float32.* against bfloat16',
    ),
    (
      dataclasses.replace(state(), slots={'Other': {'x': jnp.ones(1)}}),
      "holds no 'slot_Other'",
    ),
  ],
)
def test_other_contents_are_refused(tmp_path, target, message):
  checkpoints = saved(tmp_path, 3)
  with pytest.raises(UserError, match=message):
    checkpoints.restore(3, shapes(target))


def test_parameters_that_are_not_finite_are_not_saved(tmp_path):
  checkpoints = saved(tmp_path, 3)
  with pytest.raises(FloatingPointError):
    checkpoints.save(state(4, fill=float('nan')), {})
  assert checkpoints.steps() == [3]


def test_what_was_not_committed_is_not_there(tmp_path):
  checkpoints = saved(tmp_path, 3)
  torn = checkpoints.directory / '9'
  torn.mkdir()
  (torn / 'params').mkdir()
  assert checkpoints.steps() == [3]
  checkpoints.save(state(9), {})  # and its place can be taken
  checkpoints.wait()
  assert checkpoints.steps() == [3, 9]


def test_the_next_step_may_overwrite_what_is_being_saved(tmp_path):
  advance = jax.jit(
    lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0
  )
  for attempt in range(5):
    checkpoints = Checkpoints(tmp_path / str(attempt))
    params = {str(i): jnp.full((300, 300), 7.0) for i in range(20)}
    checkpoints.save(TrainState(jnp.int32(1), params, {}, {}), {})
    for _ in range(10):
      params = advance(params)
    jax.block_until_ready(params)
    checkpoints.wait()
    target = {'params': shapes(params)}
    for leaf in jax.tree.leaves(checkpoints.load(1, target)):
      assert np.all(leaf == 7.0)
