import numpy as np
import pytest

from tests.data.noise.made import SPECIAL, make_keys, make_rows, split
from tpu_lm.checks import UserError
from tpu_lm.data.noise.prefix import Prefix


def test_inputs_and_targets_are_the_text():
  rng = np.random.default_rng(0)
  for case in range(250):
    least, most = sorted(rng.random(2).tolist())
    rows = make_rows(4, int(rng.integers(1, 300)), case)
    pairs = Prefix(least, most).pairs(rows, make_keys(4, case), SPECIAL)
    both = zip(split(pairs.inputs), split(pairs.targets), rows.tolist())
    for inputs, targets, row in both:
      assert inputs + targets == row
      assert targets and (inputs or len(row) == 1)
      assert min(round(least * len(row)), len(row) - 1) <= len(inputs)
      assert len(inputs) <= max(round(most * len(row)), 1)


@pytest.mark.parametrize(
  'noiser, first, last',
  [(Prefix(), 1, 39), (Prefix(0.1, 0.9), 4, 36), (Prefix(0.75, 0.75), 30, 30)],
)
def test_every_split_is_alike_likely(noiser, first, last):
  rows = np.tile(make_rows(1, 40), (20_000, 1))
  read = noiser.pairs(rows, make_keys(20_000), SPECIAL).inputs.lengths
  counts = np.bincount(read, minlength=40)
  expected = 20_000 / (last - first + 1)
  assert np.all(np.abs(counts[first : last + 1] - expected) < 5 * expected**0.5)
  assert counts[first : last + 1].sum() == 20_000


@pytest.mark.parametrize(
  'values, key',
  [((-0.1,), 'least'), ((0.5, 0.4), 'most'), ((0.5, 1.1), 'most')],
)
def test_wrong_values_name_their_key(values, key):
  with pytest.raises(UserError, match=rf'Prefix\.{key} = '):
    Prefix(*values)
