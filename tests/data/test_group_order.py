import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tpu_lm.data.group_order import permute_groups


@given(
  sizes=st.lists(st.integers(1, 200), min_size=1, max_size=8),
  key=st.integers(0, 2**64 - 9),
)
def test_every_group_is_permuted_in_itself(sizes, key):
  index = np.concatenate([np.arange(size) for size in sizes])
  group = np.repeat(np.arange(len(sizes)), sizes)
  of = np.repeat(sizes, sizes)
  keys = group.astype(np.uint64) + np.uint64(key)
  mixed = np.random.default_rng(0).permutation(len(index))
  result = np.empty_like(index)
  result[mixed] = permute_groups(index[mixed], of[mixed], keys[mixed])
  for number, size in enumerate(sizes):
    assert sorted(result[group == number].tolist()) == list(range(size))


def test_an_order_depends_on_its_group_alone():
  index = np.arange(50)
  first = permute_groups(index, np.full(50, 50), np.full(50, 7, np.uint64))
  again = permute_groups(index[3:4], np.array([50]), np.array([7], np.uint64))
  other = permute_groups(index, np.full(50, 50), np.full(50, 8, np.uint64))
  assert again[0] == first[3]
  assert not np.array_equal(first, other)


def test_large_groups_stay_in_range():
  size = 2**62 + 3
  index = np.array([0, 1, size - 1])
  result = permute_groups(index, np.full(3, size), np.zeros(3, np.uint64))
  assert np.all((result >= 0) & (result < size)) and len(set(result)) == 3


def test_all_places_are_as_likely():
  groups, size = 20_000, 7
  index = np.tile(np.arange(size), groups)
  keys = np.repeat(np.arange(groups, dtype=np.uint64), size)
  orders = permute_groups(index, np.full(len(index), size), keys)
  orders = orders.reshape(groups, size)
  # Where two numbers land together: 42 pairs of places, 476 each; the chi
  # square of 41 degrees of freedom is below 75 but once in a thousand.
  for a, b in [(0, 1), (2, 6)]:
    pairs = np.bincount(orders[:, a] * size + orders[:, b], minlength=size**2)
    pairs = pairs[pairs > 0]
    expected = groups / (size * (size - 1))
    assert len(pairs) == 42
    assert np.sum((pairs - expected) ** 2 / expected) < 75
