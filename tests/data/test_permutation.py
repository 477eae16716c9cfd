import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpu_lm.data import permutation
from tpu_lm.data.permutation import permute, reshuffle

KEYS = st.tuples(st.integers(0, 2**40), st.text(max_size=5), st.integers(0, 99))


@settings(deadline=None)
@given(st.integers(1, 3000), KEYS)
def test_is_a_bijection(size, key):
  places = permute(np.arange(size), size, *key)
  assert sorted(places.tolist()) == list(range(size))


def test_keys_give_different_orders():
  orders = {
    tuple(permute(np.arange(100), 100, *key).tolist())
    for key in [(0, 'a', 0), (0, 'a', 1), (0, 'b', 0), (1, 'a', 0)]
  }
  assert len(orders) == 4


def test_is_the_same_in_every_process():
  # Recorded: rows read in the past must be found again in the future.
  recorded = [1, 0, 2, 7, 3, 6, 9, 8, 4, 5]
  assert permute(np.arange(10), 10, 7, 'prose', 2).tolist() == recorded


def test_large_sizes_stay_in_range():
  size = 2**40 + 12345
  index = np.arange(size - 1000, size)
  places = permute(index, size, 3, 'x')
  assert len(set(places.tolist())) == 1000
  assert places.min() >= 0 and places.max() < size


def test_spreads_neighbours():
  size = 2**20
  places = permute(np.arange(4096), size, 0, 'prose', 0)
  counts = np.bincount(places * 16 // size, minlength=16)
  # 256 expected in each; 5 standard deviations of a binomial are 77.
  assert np.all(np.abs(counts - 256) < 77)


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(0, 200), st.integers(1, 100))
def test_reshuffle_takes_each_once_an_epoch(size, start, count):
  cursors = np.arange(start, start + count)
  places = reshuffle(cursors, size, 0, 'x')
  assert np.array_equal(
    places, [reshuffle(np.array([c]), size, 0, 'x')[0] for c in cursors]
  )
  epochs = cursors // size
  for epoch in set(epochs.tolist()):
    taken = places[epochs == epoch].tolist()
    assert len(set(taken)) == len(taken)


@settings(deadline=None)
@given(
  st.integers(1, 3000),
  st.lists(st.integers(0, 9000), min_size=1, max_size=20),
  KEYS,
)
def test_reshuffle_is_a_permutation_for_each_epoch(size, cursors, key):
  expected = [
    permute(np.array([c % size]), size, *key, c // size)[0] for c in cursors
  ]
  assert reshuffle(np.array(cursors), size, *key).tolist() == expected
  assert reshuffle(np.array(cursors[:0]), size, *key).tolist() == []


@pytest.mark.parametrize(
  ('size', 'cursors', 'times', 'most'),
  [
    # In their order: worked out once for many batches.
    (10**6, [np.arange(c, c + 8) for c in range(0, 4096, 8)], 4, 4096),
    # Scattered, as a replay in a new order reads: nothing but these.
    (10**6, [np.arange(c, 10**6, 9001) for c in range(20)], 20, 20 * 112),
    # A tiny source: its next epochs, not a thousand of them.
    (1, [np.arange(1)], 8, 8),
  ],
)
def test_little_is_worked_out(monkeypatch, size, cursors, times, most):
  worked_out = []

  def watched(index, size, *key):
    worked_out.append(len(index))
    return permute(index, size, *key)

  monkeypatch.setattr(permutation, 'permute', watched)
  for batch in cursors:
    reshuffle(batch, size, 0, 'test_little_is_worked_out')
  assert len(worked_out) <= times
  assert sum(worked_out) <= most
