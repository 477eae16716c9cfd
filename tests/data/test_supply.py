import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpu_lm.checks import UserError
from tpu_lm.data.apportion import ONE, apportion
from tpu_lm.data.mixing import Mixture, choose
from tpu_lm.data.supply import Exhausted, Supply

WEIGHTS = st.dictionaries(
  st.sampled_from('abcde'), st.floats(0.01, 10), min_size=1, max_size=5
)
CAPS = st.dictionaries(
  st.sampled_from('abcde'), st.integers(1, 40), min_size=1, max_size=5
)


def make(caps, policy='hand_on'):
  """A supply whose sources have one row an epoch."""
  mixture = Mixture({'a': 1}, max_epochs=caps, when_exhausted=policy)
  return Supply(mixture, dict.fromkeys('abcde', 1))


def take(supply, shares, sizes, debts=None, taken=None):
  """Names chosen in batches of these sizes; until something is exhausted."""
  debts, taken, names = debts or {}, dict(taken or {}), []
  for size in sizes:
    try:
      chosen, debts = supply.choose(shares, debts, taken, size, 0)
    except Exhausted:
      return names, None
    new = [list(shares)[index] for index in chosen]
    for name in new:
      taken[name] = taken.get(name, 0) + 1
    names += new
  return names, debts


def integers(weights):
  return apportion({n: weights[n] for n in sorted(weights)}, ONE)


@settings(deadline=None)
@given(WEIGHTS, CAPS, st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_handing_on_does_not_depend_on_batches(weights, caps, sizes):
  shares = integers(weights)
  cut, end = take(make(caps), shares, sizes)
  row_by_row, last = take(make(caps), shares, [1] * sum(sizes))
  assert cut == row_by_row[: len(cut)]
  if end is not None:
    assert (len(cut), end) == (sum(sizes), last)


@settings(deadline=None)
@given(WEIGHTS, CAPS, st.integers(1, 120))
def test_all_is_read_and_nothing_more(weights, caps, rows):
  shares = integers(weights)
  names, _ = take(make(caps), shares, [1] * rows)
  for name, cap in caps.items():
    assert names.count(name) <= cap
  if len(names) < rows:  # it stopped: then all of every source was read
    assert set(shares) <= set(caps)
    assert len(names) == sum(caps[name] for name in shares)


def test_a_share_is_handed_on_in_proportion():
  shares = integers({'a': 2, 'b': 1, 'c': 1})
  names, debts = take(make({'a': 10}), shares, [100])
  end = max(place for place, name in enumerate(names) if name == 'a')
  assert end in (18, 19, 20)
  assert names.count('a') == 10
  assert abs(names.count('b') - 45) <= 1 and abs(names.count('c') - 45) <= 1
  assert set(debts) == {'b', 'c'} and sum(debts.values()) == 0


def test_a_replay_keeps_its_fraction():
  shares = apportion({'a': 1, 'b': 1, 'replay:c': 2}, ONE)
  names, _ = take(make({'a': 5}), shares, [200])
  assert names.count('a') == 5
  assert abs(names.count('replay:c') - 100) <= 1
  # Nor is it left to read alone.
  names, end = take(make({'a': 5, 'b': 5}), shares, [1] * 200)
  assert end is None and len(names) in (19, 20, 21)


def test_without_limits_nothing_changes():
  shares = integers({'a': 0.3, 'b': 0.5, 'c': 0.2})
  chosen, debts = make(None).choose(shares, {}, {}, 500, 0)
  expected, after = choose(shares, {}, 500)
  assert (chosen.tolist(), debts) == (expected.tolist(), after)
  assert chosen.dtype == np.int32


@settings(deadline=None)
@given(WEIGHTS, CAPS, st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_stopping_is_at_the_row_that_is_not_there(weights, caps, sizes):
  shares = integers(weights)
  whole, _ = choose(shares, {}, sum(sizes))
  names = [list(shares)[index] for index in whole]
  supply = make(caps, 'stop')
  fits = all(names.count(name) <= cap for name, cap in caps.items())
  got, end = take(supply, shares, sizes)
  assert (end is not None) == fits
  assert got == names[: len(got)]


def test_what_was_read_beyond_a_limit_stops_at_once():
  with pytest.raises(Exhausted, match=r'used up at step 7 .*a \(3 rows, 3 ep'):
    make({'a': 3}, 'stop').choose({'a': ONE}, {}, {'a': 9}, 4, 7)
  shares = integers({'a': 1, 'b': 1})
  names, _ = take(make({'a': 3}), shares, [4], taken={'a': 9})
  assert names == ['b'] * 4


@settings(deadline=None, max_examples=200)
@given(WEIGHTS, CAPS, st.sampled_from(['stop', 'hand_on']), st.integers(1, 40))
def test_foresight_is_never_wrong_where_weights_stay(
  weights, caps, policy, steps
):
  shares, batch = integers(weights), 4
  supply = make(caps, policy)
  names, end = take(supply, shares, [batch] * steps)
  try:
    after = supply.foresee([(0, steps, shares)], {}, {}, batch)
  except Exhausted:
    assert end is None
    return
  if end is not None:
    for name in shares:
      assert abs(after[name] - names.count(name)) <= 2
  else:  # it would have lacked a row or two at most
    needed = steps * batch - len(names)
    assert needed <= batch + 2 * len(shares) * (policy == 'stop')


@settings(deadline=None, max_examples=200)
@given(
  st.lists(st.tuples(WEIGHTS, st.integers(1, 9)), min_size=1, max_size=5),
  CAPS,
)
def test_foresight_over_changes_is_off_by_rows(stretches, caps):
  supply, batch = make(caps, 'stop'), 4
  loose = make({name: cap + 2 for name, cap in caps.items()}, 'stop')
  plan, debts, taken, step, lasted = [], {}, {}, 0, True
  for weights, steps in stretches:
    shares = integers(weights)
    plan.append((step, step + steps, shares))
    step += steps
    if lasted:
      chosen, debts = choose(shares, debts, steps * batch)
      for index in chosen:
        name = list(shares)[index]
        taken[name] = taken.get(name, 0) + 1
  lasted = all(taken.get(name, 0) <= cap for name, cap in caps.items())
  if lasted:  # with two rows more it is surely let through
    after = loose.foresee(plan, {}, {}, batch)
    assert all(abs(after[n] - taken.get(n, 0)) <= 2 for n in after)
  elif any(taken[n] > cap + 3 for n, cap in caps.items() if n in taken):
    with pytest.raises(Exhausted, match='at about step'):
      supply.foresee(plan, {}, {}, batch)


def test_foresight_goes_on_from_what_was_taken():
  shares = integers({'a': 1, 'b': 1})
  supply = make({'a': 30}, 'stop')
  assert supply.foresee([(0, 15, shares)], {}, {}, 4)['a'] == 30
  with pytest.raises(Exhausted, match=r'at about step 15 .*Allow more epochs'):
    supply.foresee([(0, 16, shares)], {}, {}, 4)
  assert supply.foresee([(5, 15, shares)], {}, {'a': 10}, 4)['a'] == 30
  with pytest.raises(Exhausted):
    supply.foresee([(5, 15, shares)], {}, {'a': 11}, 4)


def test_foresight_knows_what_is_owed():
  shares, debts = integers({'a': 1, 'b': 1}), {'a': 3 * ONE, 'b': -3 * ONE}
  names, _ = take(make(None), shares, [10], debts)
  assert names.count('a') == 8
  after = make(None).foresee([(0, 1, shares)], debts, {}, 10)
  assert after == {'a': 8, 'b': 2}


def test_epochs_are_rows_as_written():
  def limits(epochs):
    mixture = Mixture({'a': 1}, max_epochs=epochs)
    return Supply(mixture, {'a': 100, 'b': 7}).limits

  assert limits(0.29) == {'a': 29, 'b': 2}
  assert limits({'b': 1.5}) == {'b': 10}
  assert limits(None) == {}
  with pytest.raises(UserError, match=r"\['bb'\] = 2: is for nothing that.* b"):
    limits({'bb': 2})
  with pytest.raises(UserError, match='less than one of the 7 rows'):
    limits(0.1)
