import collections
import itertools
import math

import numpy as np
import pytest

from tests.data.noise.made import make_keys, split
from tpu_lm.data.noise import spans

COUNT = 60_000


def alike_likely(found, possible):
  """Whether all outcomes came about equally often: 5 standard deviations."""
  counts = collections.Counter(found)
  assert set(counts) == set(possible)
  expected = len(found) / len(counts)
  return all(abs(n - expected) < 5 * expected**0.5 for n in counts.values())


def test_every_composition_is_alike_likely():
  made = spans.compositions(make_keys(COUNT), 7, 3, 'a')
  possible = [
    p for p in itertools.product(range(1, 8), repeat=3) if sum(p) == 7
  ]
  assert len(possible) == 15
  assert alike_likely(list(map(tuple, made.tolist())), possible)


@pytest.mark.parametrize('total, parts', [(1, 1), (5, 5), (9, 1), (400, 60)])
def test_compositions_have_positive_parts(total, parts):
  made = spans.compositions(make_keys(500), total, parts, 'a')
  assert made.shape == (500, parts)
  assert made.min() >= 1 and np.all(made.sum(1) == total)


def test_every_order_is_alike_likely():
  made = spans.shuffled(make_keys(COUNT), np.full(COUNT, 4), 'a')
  possible = list(itertools.permutations(range(4)))
  assert alike_likely(list(map(tuple, made.tolist())), possible)


def test_orders_of_several_sizes():
  sizes = np.random.default_rng(0).integers(0, 50, 1000)
  made = spans.shuffled(make_keys(1000), sizes, 'a')
  for row, size in zip(made, sizes):
    assert sorted(row[:size].tolist()) == list(range(size))
    assert np.all(row[size:] >= 2**20 - 1)


def test_every_set_is_alike_likely():
  full = np.full(COUNT, 5)
  made = spans.choose(make_keys(COUNT), full, full * 0 + 2, 'a')
  found = [tuple(row) for row in np.nonzero(made)[1].reshape(-1, 2).tolist()]
  assert len(set(found)) == math.comb(5, 2)
  assert alike_likely(found, set(found))


def test_as_many_are_chosen_as_asked_for():
  rng = np.random.default_rng(0)
  sizes = rng.integers(0, 50, 1000)
  counts = rng.integers(0, sizes + 1)
  made = spans.choose(make_keys(1000), sizes, counts, 'a')
  assert np.array_equal(made.sum(1), counts)
  assert not made[np.arange(made.shape[1]) >= sizes[:, None]].any()


def test_pieces_end_to_end():
  starts, lengths = np.array([7, 0, 3, 3]), np.array([2, 0, 3, 1])
  assert spans.spread(starts, lengths).tolist() == [7, 8, 3, 4, 5, 3]
  assert spans.spread(starts[:0], lengths[:0]).tolist() == []


def test_rows_side_by_side():
  rows = spans.Ragged(np.arange(1, 6, dtype=np.int32), np.array([2, 0, 3]))
  tokens, used = spans.padded(rows)
  assert tokens.tolist() == [[1, 2, 0], [0, 0, 0], [3, 4, 5]]
  assert used.sum(1).tolist() == [2, 0, 3]
  assert split(spans.even(tokens)) == tokens.tolist()


def test_is_the_same_in_every_process():
  # Recorded: noise of the past must be found again in the future.
  keys = np.array([1, 2], np.uint64)
  made = spans.compositions(keys, 20, 4, 'a').tolist()
  assert made == [[5, 3, 8, 4], [3, 11, 2, 4]]
  order = spans.shuffled(keys, np.array([6, 6]), 'a').tolist()
  assert order == [[4, 5, 1, 0, 2, 3], [2, 1, 4, 0, 3, 5]]
