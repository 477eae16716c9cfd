import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpu_lm.data.histogram_packing import RowKind, pack_histogram


def held(kinds, row_length):
  counts = np.zeros(row_length + 1, np.int64)
  for kind in kinds:
    for length, copies in kind.lengths:
      counts[length] += kind.rows * copies
  return counts


def rows(kinds):
  return sum(kind.rows for kind in kinds)


def test_the_example_of_the_docstring():
  assert pack_histogram(np.array([0, 0, 1, 3, 0, 2, 0, 0, 0]), 8) == [
    RowKind(2, ((5, 1), (3, 1))),
    RowKind(1, ((3, 1), (2, 1))),
  ]


def test_search_finds_what_the_longest_first_misses():
  # First-fit decreasing puts 4 and 4 together and needs three rows of 10.
  counts = np.bincount([4, 4, 3, 3, 3, 3], minlength=11)
  assert pack_histogram(counts, 10) == [RowKind(2, ((4, 1), (3, 2)))]


def test_the_best_that_a_search_has_seen_is_taken():
  # 17, 8 4 4, 7 7 4: the first choice is better than any after it.
  counts = np.bincount([4, 4, 4, 7, 7, 8, 17], minlength=19)
  assert rows(pack_histogram(counts, 18)) == 3


@settings(deadline=None)
@given(row_length=st.integers(1, 60), data=st.data())
def test_every_document_is_packed_once(row_length, data):
  lengths = data.draw(
    st.lists(st.integers(1, row_length), min_size=1, max_size=200)
  )
  counts = np.bincount(lengths, minlength=row_length + 1)
  kinds = pack_histogram(counts, row_length)
  assert np.array_equal(held(kinds, row_length), counts)
  for kind in kinds:
    assert kind.rows >= 1
    room = row_length - sum(length * copies for length, copies in kind.lengths)
    assert room >= 0
  # Two rows of first fit never go into one, so on average they are half full.
  assert rows(kinds) <= 2 * sum(lengths) / row_length + 1


@pytest.mark.parametrize('row_length', [256, 1024, 4096])
@pytest.mark.parametrize('middle', [0.02, 0.1, 0.25])
@pytest.mark.parametrize('seed', range(3))
def test_rows_of_several_documents_are_filled(row_length, middle, seed):
  draw = np.random.default_rng(seed).lognormal(0, 0.5, 3000)
  lengths = np.clip(draw * middle * row_length, 1, row_length).astype(int)
  counts = np.bincount(lengths, minlength=row_length + 1)
  kinds = pack_histogram(counts, row_length)
  full = -(-int(lengths.sum()) // row_length)
  assert rows(kinds) <= 1.01 * full + 1


def test_many_lengths_are_packed_too():
  counts = np.zeros(20_001, np.int64)
  counts[1:] = 1
  kinds = pack_histogram(counts, 20_000)
  assert np.array_equal(held(kinds, 20_000), counts)
  assert rows(kinds) <= 1.001 * counts @ np.arange(20_001) / 20_000 + 1
