"""Bad steps: nothing of them is kept, what was read for nothing is known."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import spiky, tiny
from tpu_lm.checkpoint import Checkpoints
from tpu_lm.checks import UserError
from tpu_lm.data.ledger import Ledger, Skipped
from tpu_lm.data.pool import Pool
from tpu_lm.guard import Guard
from tpu_lm.interrupt import Interrupted
from tpu_lm.loop import Stopped, train
from tpu_lm.same import compare
from tpu_lm.state import Mean, TrainState

QUICK = {'window': 8, 'threshold': 20.0}
BAD = 41  # row of the step that takes 40 to 43, the eleventh


def ledger_of(run_dir, phase='base'):
  path = run_dir / 'phases' / phase / 'lineage.json'
  return Ledger.from_json(json.loads(path.read_text())['ledger'])


def values(run_dir, name):
  lines = (run_dir / 'metrics.jsonl').read_text().splitlines()
  points = [json.loads(line) for line in lines]
  return {p['step']: p['value'] for p in points if p['name'] == name}


def train_in_parts(run, run_dir, stops):
  """Trains with a stop after so many steps each time."""
  for steps in stops:
    with pytest.raises(Interrupted):
      train(run, run_dir, 'the configuration', stop_after=steps)
  train(run, run_dir, 'the configuration')


@pytest.fixture(scope='module')
def stores(tmp_path_factory):
  return tmp_path_factory.mktemp('guard') / 'stores'


@pytest.mark.parametrize(
  'factor', ['nan', pytest.param('inf', marks=pytest.mark.slow), '50']
)
def test_a_bad_step_is_skipped(stores, tmp_path, factor):
  guard = Guard(not_finite='skip', spike='skip', **QUICK)
  run = spiky.run(stores, guard, [BAD], factor)
  train(run, tmp_path / 'whole', 'the configuration')
  (spoilt,) = ledger_of(tmp_path / 'whole').skipped
  assert (spoilt.phase, spoilt.step, spoilt.back_to) == ('base', 11, None)
  assert spoilt.rows == {'letters@16': (40, 44)}
  expected = {'nan': 'loss not finite', 'inf': 'loss not finite'}
  assert spoilt.why.startswith(expected.get(factor, 'loss '))
  assert values(tmp_path / 'whole', 'guard/skipped') == {11: 1.0}
  assert 11 in values(tmp_path / 'whole', 'learning_rate')
  train_in_parts(run, tmp_path / 'parts', [10, 1, 1])
  same = compare(tmp_path / 'whole', tmp_path / 'parts')
  assert same.difference is None


def test_skipping_changes_nothing_but_the_step(stores, tmp_path):
  """What training without the batch, and without its step's rate, gives."""
  guard = Guard(not_finite='skip')
  run = spiky.run(stores, guard, [BAD], 'nan', save_every=1)
  with pytest.raises(Interrupted):
    train(run, tmp_path, 'the configuration', stop_after=11)
  checkpoints = Checkpoints(tmp_path / 'phases/base/checkpoints')
  before, after = checkpoints.arrays(10), checkpoints.arrays(11)
  assert before.keys() == after.keys()
  for name, array in before.items():
    np.testing.assert_array_equal(array, after[name], err_msg=name)


def test_rows_that_were_skipped_are_not_replayed(stores, tmp_path, monkeypatch):
  guard = Guard(spike='roll_back', not_finite='roll_back', **QUICK)
  run = spiky.run(stores, guard, [BAD], 'nan', child=True)
  read = set()
  original = Pool.cursors

  def cursors(pool, places):
    found = original(pool, places)
    read.update(found.tolist())
    return found

  monkeypatch.setattr(Pool, 'cursors', cursors)
  train(run, tmp_path, 'the configuration')
  (spoilt,) = ledger_of(tmp_path, 'next').skipped
  assert spoilt.rows == {'letters@16': (40, 44)}
  assert read and not read & set(range(40, 44))


def test_rolling_back(stores, tmp_path):
  """To the checkpoint of step 10, and from there with the twelfth batch."""
  guard = Guard(not_finite='roll_back')
  run = spiky.run(stores, guard, [BAD], 'nan')
  train(run, tmp_path / 'whole', 'the configuration')
  ledger = ledger_of(tmp_path / 'whole')
  (spoilt,) = ledger.skipped
  assert (spoilt.step, spoilt.back_to) == (11, 10)
  assert spoilt.rows == {'letters@16': (40, 44)}
  assert ledger.rows['letters@16'] == 4 * 24 + 4
  assert values(tmp_path / 'whole', 'guard/skipped') == {}
  train_in_parts(run, tmp_path / 'parts', [10, 1, 3])
  same = compare(tmp_path / 'whole', tmp_path / 'parts')
  assert same.difference is None


def test_rolling_back_further(stores, tmp_path):
  """Past a checkpoint that is too near, which goes."""
  guard = Guard(not_finite='roll_back', back=3)
  run = spiky.run(stores, guard, [BAD], 'nan')
  train(run, tmp_path / 'whole', 'the configuration')
  (spoilt,) = ledger_of(tmp_path / 'whole').skipped
  assert (spoilt.step, spoilt.back_to) == (11, 5)
  assert spoilt.rows == {'letters@16': (20, 44)}
  # At 7 is a checkpoint that a course without stops does not have.
  train_in_parts(run, tmp_path / 'parts', [7, 3, 3])
  same = compare(tmp_path / 'whole', tmp_path / 'parts')
  assert same.difference is None


def test_rolling_back_to_the_entry_and_twice(stores, tmp_path):
  guard = Guard(not_finite='roll_back')
  run = spiky.run(stores, guard, [9, 33], 'nan', save_every=100)
  train(run, tmp_path / 'whole', 'the configuration')
  first, second = ledger_of(tmp_path / 'whole').skipped
  assert (first.step, first.back_to) == (3, 0)
  assert first.rows == {'letters@16': (0, 12)}
  # From the entry again, and past all that was read till then.
  assert (second.step, second.back_to) == (6, 0)
  assert second.rows == {'letters@16': (0, 36)}
  lineage = json.loads(
    (tmp_path / 'whole/phases/base/lineage.json').read_text()
  )
  assert lineage['entry_ledger']['rows'] == {}


@pytest.mark.parametrize(
  ('guard', 'factor', 'message'),
  [
    (Guard(), 'nan', 'base, step 11: loss not finite. Nothing'),
    (Guard(spike='stop', **QUICK), '50', r'base, step 11: loss .* deviations'),
    (Guard(spike='stop', **QUICK), 'inf', 'loss not finite'),
    (None, 'nan', r'gradient_norm is nan at step 11 .*Phase.guard'),
  ],
)
def test_stopping(stores, tmp_path, guard, factor, message):
  run = spiky.run(stores, guard, [BAD], factor)
  with pytest.raises(Stopped, match=message):
    train(run, tmp_path, 'the configuration')
  checkpoints = Checkpoints(tmp_path / 'phases/base/checkpoints')
  assert checkpoints.steps() == [5, 10]


@pytest.mark.parametrize('policy', ['skip', 'roll_back'])
def test_too_many(stores, tmp_path, policy):
  guard = Guard(not_finite=policy, most=2)
  run = spiky.run(stores, guard, range(40, 90), 'nan')
  with pytest.raises(Stopped, match='after 2 bad steps shortly before it'):
    train(run, tmp_path, 'the configuration')


def test_not_too_many_where_they_are_far_apart(stores, tmp_path):
  guard = Guard(not_finite='skip', most=1, window=5)
  run = spiky.run(stores, guard, [41, 66, 91], 'nan')
  train(run, tmp_path, 'the configuration')
  assert [one.step for one in ledger_of(tmp_path).skipped] == [11, 17, 23]


def test_a_guard_may_be_given_to_a_run_that_stopped(stores, tmp_path):
  """And changed, and taken away; where it is new it begins to watch."""
  run = spiky.run(stores, None, [BAD], 'nan')

  def guarded(guard):
    phases = [dataclasses.replace(phase, guard=guard) for phase in run.phases]
    return dataclasses.replace(run, phases=phases)

  with pytest.raises(Stopped, match='gradient_norm is nan at step 11'):
    train(run, tmp_path, 'the configuration')
  with pytest.raises(Interrupted, match='step 13'):
    skipping = guarded(Guard(not_finite='skip'))
    train(skipping, tmp_path, 'the configuration', stop_after=3)
  with pytest.raises(Interrupted, match='step 15'):
    other = guarded(Guard(not_finite='skip', window=7))
    train(other, tmp_path, 'the configuration', stop_after=2)
  train(run, tmp_path, 'the configuration')
  assert [one.step for one in ledger_of(tmp_path).skipped] == [11]


def test_a_pin_does_not_pass_on(stores, tmp_path):
  """Rolled back past a pinned checkpoint, another takes its name."""
  guard = Guard(not_finite='roll_back', back=3)
  run = spiky.run(stores, guard, [BAD], 'nan')
  with pytest.raises(Interrupted):
    train(run, tmp_path, 'the configuration', stop_after=10)
  checkpoints = Checkpoints(tmp_path / 'phases/base/checkpoints')
  checkpoints.pin(10)
  train(run, tmp_path, 'the configuration')
  assert checkpoints.pinned() == []


def test_rows_of_a_store_that_changed_are_counted_from_0():
  before = Ledger(rows={'a@16': 500}, stores={'a': 'old'})
  after = Ledger(rows={'a@16': 4}, stores={'a': 'new'})
  spoilt = Skipped.between(before, after, 'base', 1, None, 'why')
  assert spoilt.rows == {'a@16': (0, 4)} and spoilt.stores == {'a': 'new'}
  later = dataclasses.replace(after, rows={'a@16': 8})
  spoilt = Skipped.between(after, later, 'base', 2, None, 'why')
  assert spoilt.rows == {'a@16': (4, 8)}


def test_spikes_are_no_concern_by_default(stores, tmp_path):
  run = spiky.run(stores, Guard(**QUICK), [BAD], '50')
  run = dataclasses.replace(run, log_every=1)
  train(run, tmp_path, 'the configuration')
  assert ledger_of(tmp_path).skipped == ()
  assert values(tmp_path, 'guard/score')[11] > 20


def test_a_guard_that_finds_nothing_changes_nothing(stores, tmp_path):
  for name, guard in (('with', Guard(spike='skip')), ('without', None)):
    run = spiky.run(stores, guard, [BAD], '1')
    train(run, tmp_path / name, 'the configuration')
  found = [
    values(tmp_path / name, 'train/loss') for name in ('with', 'without')
  ]
  assert found[0].keys() == found[1].keys()
  np.testing.assert_allclose(*(list(f.values()) for f in found), rtol=1e-5)


def around(numbers, guard):
  """The scores of steps whose loss and gradient norm are given."""

  def step(state, batch):
    mean = Mean(batch['loss'][None], jnp.ones(1))
    report = {'metrics': {'loss': mean}, 'gradient_norm': batch['norm']}
    params = {'w': state.params['w'] + 1}
    return TrainState(state.step + 1, params, {}, state.slots), report

  guarded, params = jax.jit(guard.around(step)), {'w': jnp.zeros(())}
  slots = {'Guard': guard.init(params)}
  state = TrainState(jnp.int32(0), params, {}, slots)
  for loss, norm in numbers:
    state, report = guarded(state, {'loss': loss, 'norm': norm})
    yield state, jax.device_get(report)


def test_scores_are_of_the_median_and_its_deviation():
  guard, random = Guard(window=9, spike='skip'), np.random.default_rng(0)
  numbers = random.normal(3, 1, (40, 2)).astype(np.float32)
  for index, (_, report) in enumerate(around(numbers, guard)):
    window = numbers[max(0, index - 9) : index]
    scores = report['guard']['scores']
    if len(window) < 5:
      np.testing.assert_array_equal(scores, 0)
    else:
      median = np.median(window, axis=0)
      spread = np.median(np.abs(window - median), axis=0) / 0.6745
      want = (numbers[index] - median) / spread
      np.testing.assert_allclose(scores, want, rtol=1e-4)


def test_a_lasting_change_is_bad_for_half_a_window():
  guard = Guard(window=10, spike='skip')
  noise = np.random.default_rng(1).normal(0, 0.01, 60)
  numbers = [(2 + x + 3 * (i >= 30), 1.0) for i, x in enumerate(noise)]
  bad = [
    index
    for index, (_, report) in enumerate(around(numbers, guard))
    if guard.judge(report)
  ]
  assert bad == list(range(30, 35))


def test_what_is_not_finite_does_not_enter_the_window():
  guard = Guard(window=4, not_finite='skip')
  numbers = [(1.0, 1.0), (float('nan'), 1.0), (1.0, float('inf')), (2.0, 1.0)]
  *_, (state, _) = around(numbers, guard)
  assert int(state.step) == 4 and int(state.params['w']) == 2
  assert int(state.slots['Guard']['seen']) == 2
  np.testing.assert_array_equal(state.slots['Guard']['last'][0], [1, 2, 0, 0])


def test_falls_are_no_spikes():
  guard = Guard(window=6, spike='stop')
  numbers = [(5.0 + 0.1 * (i % 3), 1.0) for i in range(10)] + [(0.1, 0.0)]
  assert not any(guard.judge(report) for _, report in around(numbers, guard))


@pytest.mark.parametrize(
  'fields',
  [
    {'not_finite': 'ignore'},
    {'spike': 'hope'},
    {'threshold': 0},
    {'threshold': float('nan')},
    {'window': 0},
    {'back': 1.5},
    {'most': 0},
  ],
)
def test_mistakes(fields):
  (name,) = fields
  with pytest.raises(UserError, match=f'Guard.{name} = '):
    Guard(**fields)


def test_a_phase_wants_a_guard(stores):
  phase = tiny.tree_run(stores).phases[0]
  with pytest.raises(UserError, match=r'Phase.guard = 3: must be Guard\(...\)'):
    dataclasses.replace(phase, guard=3)
