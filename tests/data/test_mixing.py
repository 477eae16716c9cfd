import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpu_lm.checks import UserError
from tpu_lm.data.apportion import ONE, apportion
from tpu_lm.data.mixing import Mixture, choose, settle
from tpu_lm.data.weights import FixedTokens, UniMax

WEIGHTS = st.dictionaries(
  st.sampled_from('abcdefgh'), st.floats(0.001, 1000), min_size=1, max_size=8
)


@given(WEIGHTS, st.integers(0, 10**12))
def test_apportion_is_within_one(weights, total):
  parts = apportion(weights, total)
  assert sum(parts.values()) == total
  whole = sum(weights.values())
  for name, part in parts.items():
    assert abs(part - total * weights[name] / whole) < 1 + 1e-9 * total
  backwards = dict(reversed(weights.items()))
  assert apportion(backwards, total) == parts


def test_apportion_keeps_tiny_weights_exact():
  parts = apportion({'a': 1e-300, 'b': 1.0}, 10**310)
  assert parts['a'] == pytest.approx(10**10, rel=1e-9)


@settings(deadline=None)
@given(WEIGHTS, st.integers(1, 600))
def test_shares_are_within_one_row_at_every_row(weights, rows):
  shares = apportion(weights, ONE)
  chosen, debts = choose(shares, {}, rows)
  taken = np.zeros(len(shares), np.int64)
  scale = max(1, 2 * len(shares) - 2)
  for n, source in enumerate(chosen, start=1):
    taken[source] += 1
    for count, share in zip(taken.tolist(), shares.values()):
      # Tijdeman's bound, 1 - 1 / (2k - 2), without fractions.
      assert scale * abs(count * ONE - n * share) <= (scale - 1) * ONE
  assert sum(debts.values()) == 0
  expected = [rows * s - c * ONE for s, c in zip(shares.values(), taken)]
  assert list(debts.values()) == [int(debt) for debt in expected]


def choose_by_definition(shares, debts, rows):
  """The rule as it is written: every debt looked at for every row."""
  debts = settle(shares, debts)
  scale = max(1, 2 * len(shares) - 2)
  names, chosen = list(shares), []
  for _ in range(rows):
    debts = {name: debts[name] + shares[name] for name in names}
    owed = [name for name in names if scale * debts[name] >= ONE]
    source = min(
      owed,
      key=lambda name: (
        ((scale - 1) * ONE - scale * debts[name]) // (scale * shares[name]),
        names.index(name),
      ),
    )
    debts[source] -= ONE
    chosen.append(names.index(source))
  return chosen, debts


@settings(deadline=None)
@given(st.lists(st.tuples(WEIGHTS, st.integers(0, 60)), max_size=6))
def test_the_heaps_choose_what_the_rule_says(stretches):
  debts = {}
  for weights, rows in stretches:
    shares = apportion(weights, ONE)
    expected, after = choose_by_definition(shares, debts, rows)
    chosen, debts = choose(shares, debts, rows)
    assert (chosen.tolist(), debts) == (expected, after)


def test_choices_are_as_recorded():
  # Rows read in the past must be found again in the future.
  shares = apportion({'a': 0.5, 'b': 0.3, 'c': 0.15, 'd': 0.05}, ONE)
  chosen, _ = choose(shares, {}, 40)
  text = ''.join('abcd'[source] for source in chosen)
  assert text == 2 * 'abacababacababadacab'


@settings(deadline=None)
@given(WEIGHTS, st.lists(st.integers(0, 50), max_size=6))
def test_batch_sizes_do_not_matter(weights, sizes):
  shares = apportion(weights, ONE)
  whole, end = choose(shares, {}, sum(sizes))
  parts, debts = [], choose(shares, {}, 0)[1]
  for size in sizes:
    part, debts = choose(shares, debts, size)
    parts += part.tolist()
  assert (parts, debts) == (whole.tolist(), end)


@settings(deadline=None)
@given(st.lists(st.tuples(WEIGHTS, st.integers(0, 40)), max_size=30))
def test_changing_weights_stay_bounded(stretches):
  debts = {}
  for weights, rows in stretches:
    shares = apportion(weights, ONE)
    chosen, debts = choose(shares, debts, rows)
    assert len(chosen) == rows
    assert set(debts) == set(shares)
    assert sum(debts.values()) == 0
    assert max(map(abs, debts.values())) <= 8 * ONE


@settings(deadline=None)
@given(st.lists(st.tuples(WEIGHTS, st.integers(0, 40)), max_size=10), WEIGHTS)
def test_nothing_starves_after_changes(stretches, weights):
  debts = {}
  for earlier, rows in stretches:
    _, debts = choose(apportion(earlier, ONE), debts, rows)
  shares = apportion(weights, ONE)
  rows = 20 * ONE // min(shares.values())
  if rows < 5000:
    chosen, _ = choose(shares, debts, rows)
    assert set(chosen.tolist()) == set(range(len(shares)))


def test_a_dropped_source_hands_over_its_debt():
  shares = apportion({'a': 1, 'b': 1, 'c': 1}, ONE)
  _, debts = choose(shares, {}, 1)
  assert sorted(debt > 0 for debt in debts.values()) == [False, True, True]
  for gone in 'abc':
    rest = {name: 1 for name in 'abc' if name != gone}
    chosen, after = choose(apportion(rest, ONE), debts, 100)
    assert set(after) == set(rest)
    assert sum(after.values()) == 0
    assert abs(int(np.sum(chosen == 0)) - 50) <= 1


def test_one_source_takes_all():
  chosen, debts = choose({'a': ONE}, {'b': 5, 'a': -5}, 4)
  assert chosen.tolist() == [0, 0, 0, 0]
  assert debts == {'a': 0}


def test_sources_are_those_of_all_steps():
  mixture = Mixture(
    UniMax(['b', 'a'], 1),
    changes={3: {'c': 1, 'a': 0}, 5: FixedTokens({'d': 1})},
  )
  assert mixture.sources == ('b', 'a', 'c', 'd')
  assert mixture.weights_at(2) == UniMax(['b', 'a'], 1)


def test_weights_change_at_their_steps():
  mixture = Mixture({'a': 1}, changes={10: {'b': 1}, 5: {'a': 1, 'b': 1}})
  assert [list(mixture.weights_at(step)) for step in (0, 4, 5, 9, 10, 99)] == [
    ['a'],
    ['a'],
    ['a', 'b'],
    ['a', 'b'],
    ['b'],
    ['b'],
  ]


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'weights': {}}, r'Mixture.weights = \{\}'),
    ({'weights': {'a': -1}}, r"Mixture.weights\['a'\] = -1"),
    ({'weights': {'a': float('nan')}}, r"weights\['a'\] = nan"),
    ({'weights': {'a': 0, 'b': 0}}, 'a finite sum above 0'),
    ({'weights': {'a': 1e308, 'b': 1e308}}, 'a finite sum above 0'),
    ({'weights': {'replay:a': 1}}, "not beginning with 'replay:'"),
    (
      {'weights': {'a': 1}, 'changes': {0: {'a': 1}}},
      'must be an integer >= 1',
    ),
    ({'weights': {'a': 1}, 'changes': {2: {'a': 'x'}}}, r'changes\[2\]'),
    ({'weights': {'a': 1}, 'replay': 0.1}, 'must be a Replay or None'),
    ({'weights': UniMax}, 'or be one of weights.py'),
    ({'weights': {'a': 1}, 'max_epochs': 0}, 'Mixture.max_epochs = 0'),
    ({'weights': {'a': 1}, 'max_epochs': True}, 'Mixture.max_epochs = True'),
    (
      {'weights': {'a': 1}, 'max_epochs': {'a': None}},
      r"max_epochs\['a'\] = None",
    ),
    (
      {'weights': {'a': 1}, 'when_exhausted': 'repeat'},
      'must be one of stop, hand_on',
    ),
  ],
)
def test_wrong_mixtures_are_told(arguments, message):
  with pytest.raises(UserError, match=message):
    Mixture(**arguments)
