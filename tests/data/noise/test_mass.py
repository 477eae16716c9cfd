import numpy as np
import pytest

from tests.data.noise.made import SPECIAL, make_keys, make_rows, split
from tpu_lm.checks import UserError
from tpu_lm.data.noise.mass import Mass

MASK = SPECIAL.id('mask')


def test_inputs_targets_and_positions_rebuild_the_text():
  rng = np.random.default_rng(0)
  for case in range(250):
    rate = float(rng.uniform(0.01, 1))
    rows = make_rows(4, int(rng.integers(1, 300)), case)
    pairs = Mass(rate).pairs(rows, make_keys(4, case), SPECIAL)
    places = split(pairs.targets, pairs.positions)
    parts = zip(
      split(pairs.inputs), split(pairs.targets), places, rows.tolist()
    )
    for inputs, targets, here, row in parts:
      assert len(here) == max(1, round(rate * len(row)))
      assert here == list(range(here[0], here[0] + len(here)))
      assert MASK not in row[: here[0]] + row[here[-1] + 1 :]
      for place, token in zip(here, targets, strict=True):
        inputs[place] = token
      assert inputs == row


def test_where_the_fragment_lies_and_what_becomes_of_it():
  rows = np.tile(make_rows(1, 100), (20_000, 1))
  pairs = Mass(0.4).pairs(rows, make_keys(20_000), SPECIAL)
  places = pairs.positions.reshape(-1, 40)
  starts = np.bincount(places[:, 0], minlength=61) / 20_000
  # A fifth each at start and end, the rest over 61 places, these included.
  assert np.allclose(starts[[0, 60]], 0.2 + 0.6 / 61, atol=0.015)
  assert np.allclose(starts[1:60], 0.6 / 61, atol=0.004)
  inputs = pairs.inputs.tokens.reshape(rows.shape)
  noised = np.take_along_axis(inputs, places, 1)
  clean = pairs.targets.tokens.reshape(-1, 40)
  assert abs(np.mean(noised == MASK) - 0.8) < 0.005
  # One in 259 of those that are replaced is so by itself.
  assert abs(np.mean(noised == clean) - 0.1 - 0.1 / 259) < 0.005
  other = noised[(noised != MASK) & (noised != clean)]
  assert set(other.tolist()) == set(range(259))


@pytest.mark.parametrize('rate', [0, 1.5, None])
def test_wrong_values_name_their_key(rate):
  with pytest.raises(UserError, match=rf'Mass\.rate = {rate}'):
    Mass(rate)
