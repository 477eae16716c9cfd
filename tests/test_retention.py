"""Which checkpoints are kept."""

import dataclasses

import jax.numpy as jnp
import pytest

from tests import tiny
from tpu_lm.checkpoint import Checkpoints
from tpu_lm.checks import UserError
from tpu_lm.prepare import prepare
from tpu_lm.retention import Retention
from tpu_lm.state import TrainState

STEPS = [10, 20, 30, 40, 50]
LOSSES = {10: 3.0, 20: 1.0, 40: 2.0, 50: float('nan')}
METRICS = {step: {'validation/loss/a': loss} for step, loss in LOSSES.items()}


@pytest.mark.parametrize(
  ('fields', 'kept'),
  [
    ({}, [40, 50]),
    ({'last': 1}, [50]),
    ({'last': 9}, STEPS),
    ({'last': 1, 'every': 20}, [20, 40, 50]),
    ({'last': 1, 'best': 'validation/loss/a'}, [20, 50]),
    ({'last': 1, 'best': 'validation/loss/a', 'highest': True}, [10, 50]),
    ({'last': 1, 'best': 'never measured'}, [50]),
    ({'last': 1, 'every': 30, 'best': 'validation/loss/a'}, [20, 30, 50]),
  ],
)
def test_policies(fields, kept):
  dropped = Retention(**fields).dropped(STEPS, STEPS, METRICS)
  assert [step for step in STEPS if step not in dropped] == kept


def test_the_newest_is_always_kept():
  assert Retention(last=1).dropped([7], [7], {}) == []
  assert Retention().dropped([], [], {}) == []


def test_those_of_stops_take_no_place():
  keep = Retention(last=2)
  assert keep.dropped([10, 13], [10], {}) == []
  assert keep.dropped([10, 13, 20], [10, 20], {}) == [13]
  assert keep.dropped([10, 20, 21], [10, 20], {}) == []


def save(checkpoints, step, metrics):
  params = {'w': jnp.full(3, float(step))}
  state = TrainState(jnp.int32(step), params, {}, {})
  checkpoints.save(state, {'metrics': metrics})
  checkpoints.wait()


def test_on_the_disk(tmp_path):
  keep = Retention(last=1, every=30, best='x')
  checkpoints = Checkpoints(tmp_path, keep)
  values = {10: 5.0, 20: 2.0, 30: 4.0, 40: 3.0, 50: 2.5}
  for step, value in values.items():
    save(checkpoints, step, {'x': value})
    if step == 10:
      checkpoints.pin(10)
  assert checkpoints.steps() == [10, 20, 30, 50]
  assert checkpoints.pinned() == [10]
  checkpoints.pin(10, False)
  save(checkpoints, 60, {})
  assert checkpoints.steps() == [20, 30, 60]
  assert checkpoints.pinned() == []


def test_a_metric_that_is_not_measured(tmp_path, capsys):
  run = tiny.tree_run(tmp_path / 'stores')
  wrong = Retention(best='validation/loss/leters')
  with pytest.raises(UserError, match='Did you mean: validation/loss/letters'):
    prepare(dataclasses.replace(run, checkpoints=wrong), tmp_path / 'run')
  right = Retention(best='validation/loss/letters')
  prepare(dataclasses.replace(run, checkpoints=right), tmp_path / 'run')
  told = capsys.readouterr().err
  assert 'base is never evaluated where it is saved, every 5 steps' in told


@pytest.mark.parametrize(
  'fields',
  [
    {'last': 0},
    {'last': True},
    {'every': 0},
    {'every': 2.5},
    {'best': 3},
    {'highest': 'yes'},
    {'when_damaged': 'hope'},
  ],
)
def test_mistakes(fields):
  (name,) = fields
  with pytest.raises(UserError, match=f'Retention.{name} = '):
    Retention(**fields)
