import numpy as np
import pytest

from tests.data.noise.made import (
  SPECIAL,
  make_keys,
  make_rows,
  noised,
  split,
)
from tpu_lm.checks import UserError
from tpu_lm.data.noise.mass import Mass
from tpu_lm.data.noise.mixed import Mixed, Part
from tpu_lm.data.noise.prefix import Prefix
from tpu_lm.data.noise.span_corruption import SpanCorruption
from tpu_lm.data.noise.ul2 import UL2, UL2R


def shares(noiser, length=20, count=20_000):
  """Which part of the rows each label has."""
  rows = np.tile(make_rows(1, length), (count, 1))
  labels = noiser.pairs(rows, make_keys(count), SPECIAL).labels
  counts = np.bincount(labels, minlength=len(noiser.labels)) / count
  return dict(zip(noiser.labels, counts.tolist()))


def test_parts_come_by_weight():
  noiser = Mixed((Part(Prefix(), 1.0), Part(Mass(), 2.0), Part(Prefix(), 5)))
  assert noiser.labels == ('prefix', 'mass', 'prefix 2')
  found = shares(noiser)
  assert found == pytest.approx(
    {'prefix': 1 / 8, 'mass': 2 / 8, 'prefix 2': 5 / 8}, abs=0.02
  )


def test_rows_are_those_of_their_parts():
  whole, rest = Prefix(0.5, 0.5), SpanCorruption(0.3)
  noiser = Mixed((Part(whole, mode='mode_s'), Part(rest, label='spans')))
  assert noiser.labels == ('prefix', 'spans')
  assert noiser.names == ('mode_s',)
  rows = make_rows(1000, 30)
  made = noised(noiser, rows, make_keys(1000))
  # This one gives the same whatever the key is.
  alone = noised(whole, rows, make_keys(1000, 1))
  for (inputs, targets, label), (first, second, _) in zip(made, alone):
    if label == 0:
      assert inputs == [SPECIAL.id('mode_s'), *first] and targets == second
    else:
      assert SPECIAL.id('mode_s') not in inputs
      assert targets[0] == SPECIAL.sentinel(0)
      assert (len(inputs), len(targets)) == rest.sizes(30)


def test_sizes_and_sentinels_are_the_parts_greatest():
  noiser = Mixed((Part(Prefix(0.75, 0.75), mode='mode_s'), Part(Mass(0.9))))
  assert noiser.sizes(100) == (100, 90)
  noiser = Mixed((Part(Prefix(0.99, 0.99), mode='mode_s'), Part(Prefix(0, 0))))
  assert noiser.sizes(100) == (100, 99)
  assert noiser.sentinels(100) == 0
  noiser = Mixed((Part(SpanCorruption(0.5)), Part(SpanCorruption())))
  assert noiser.sentinels(100) == SpanCorruption(0.5).sentinels(100)


def test_positions_where_only_some_parts_give_them():
  noiser = Mixed((Part(Prefix(0.5, 0.5)), Part(Mass())))
  rows = make_rows(50, 20)
  pairs = noiser.pairs(rows, make_keys(50), SPECIAL)
  for label, places in zip(pairs.labels, split(pairs.targets, pairs.positions)):
    start = places[0] if label else 0
    assert places == list(range(start, start + 10))
  assert set(pairs.labels.tolist()) == {0, 1}
  assert Mixed((Part(Prefix()),)).pairs(rows, make_keys(50), SPECIAL)[3] is None


def test_a_mixture_in_a_mixture_draws_anew():
  inner = Mixed((Part(Prefix(), label='a'), Part(Mass(), label='b')))
  noiser = Mixed((Part(inner), Part(inner)))
  assert noiser.labels == ('a', 'b', 'a 2', 'b 2')
  found = shares(noiser)
  assert found == pytest.approx(dict.fromkeys(noiser.labels, 0.25), abs=0.02)
  assert Mixed((Part(inner, label='c'),)).labels == ('c',)


def test_ul2_is_seven_denoisers():
  found = shares(UL2())
  names = ['R 3 0.15', 'R 8 0.15', 'S']
  names += ['X 3 0.5', 'X 8 0.5', 'X 64 0.15', 'X 64 0.5']
  assert found == pytest.approx(dict.fromkeys(names, 1 / 7), abs=0.02)
  assert UL2().sizes(567) == (511, 379)
  assert UL2().sentinels(766) == 128


def test_ul2_names_the_group_first():
  rows, keys = make_rows(2000, 60), make_keys(2000)
  plain = noised(UL2(mode_tokens=False), rows, keys)
  made = noised(UL2(), rows, keys)
  for (inputs, targets, label), other in zip(made, plain, strict=True):
    mode = f'mode_{UL2().labels[label][0].lower()}'
    assert inputs[0] == SPECIAL.id(mode)
    assert (inputs[1:], targets, label) == other
  assert UL2().names == ('mode_r', 'mode_s', 'mode_x')
  assert UL2(mode_tokens=False).names == ()


def test_no_denoiser_but_s_always_takes_the_end():
  rows, keys = make_rows(2000, 600), make_keys(2000)
  noiser = UL2(r=0, s=0, x=1)
  assert len(noiser.labels) == 4
  label = noiser.labels.index('X 64 0.15')
  made = noised(noiser, rows, keys)
  ends = [inputs[-1] for inputs, _, which in made if which == label]
  assert len(ends) > 400 and max(ends) < SPECIAL.vocabulary_size


def test_ul2r_has_other_shares():
  found = shares(UL2R())
  assert found['S'] == pytest.approx(0.5, abs=0.02)
  assert found['R 3 0.15'] == pytest.approx(0.125, abs=0.02)
  assert found['X 64 0.5'] == pytest.approx(0.0625, abs=0.02)


@pytest.mark.parametrize(
  'make, message',
  [
    (lambda: Part('prefix'), r"Part\.noiser = 'prefix'"),
    (lambda: Part(Prefix(), 0), r'Part\.weight = 0'),
    (lambda: Part(Prefix(), mode='mode_t'), r"'mode_t': .*Did you mean"),
    (lambda: Part(Prefix(), label=3), r'Part\.label = 3'),
    (lambda: Mixed(()), r'Mixed\.parts = \(\): must not be empty'),
    (lambda: Mixed((Prefix(),)), r'Mixed\.parts = '),
    (lambda: UL2(r=-1), r'UL2\.r = -1'),
    (lambda: UL2R(r=0, s=0, x=0), r'UL2R\.r = 0'),
    (lambda: UL2(mode_tokens='yes'), r"UL2\.mode_tokens = 'yes'"),
  ],
)
def test_wrong_values_name_their_key(make, message):
  with pytest.raises(UserError, match=message):
    make()
