"""The infinite schedule: published setting, formulas, the two conventions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpu_lm.schedules.base import Horizon
from tpu_lm.schedules.constant import Constant
from tpu_lm.schedules.exponential import Exponential
from tpu_lm.schedules.infinite import Infinite, from_ends, from_lengths

# The 405M-parameter setting: 300B tokens in batches of 1104 x 2048.
RATES = {'peak': 3e-4, 'constant': 1.65e-4, 'end': 3e-5}
PUBLISHED = Horizon(steps=132_685, tokens_per_step=1104 * 2048)
WARM, COOL = 1_326, 79_611
ANNEAL = 18_575


@pytest.mark.parametrize('shape', ['cosine', 'linear', 'inverse_square_root'])
def test_published_setting(shape):
  schedule = from_ends(
    **RATES, warmup=0.01, cooldown=0.6, constant_end=0.85, shape=shape
  )
  curve = schedule.make(PUBLISHED)
  cooled, held = WARM + COOL, PUBLISHED.steps - ANNEAL
  assert curve.boundaries == (WARM, cooled, held, PUBLISHED.steps)
  # The fork's constant part ends at 85 % counted after the warm-up.
  assert abs(held - (0.01 + 0.85) * PUBLISHED.steps) < 1
  for n, rate in [
    (1, 3e-4 / WARM),
    (WARM // 2, 1.5e-4),
    (WARM, 3e-4),
    (cooled, 1.65e-4),
    (held, 1.65e-4),
    (PUBLISHED.steps, 3e-5),
  ]:
    assert float(curve(n - 1)) == pytest.approx(rate, rel=1e-5), n


@pytest.mark.parametrize('shape', ['cosine', 'linear', 'inverse_square_root'])
def test_formulas(shape):
  timescale = 4.0 if shape == 'inverse_square_root' else None
  curve = Infinite(
    peak=3e-3,
    constant=1.65e-3,
    end=3e-4,
    warmup=10,
    cooldown=50,
    anneal=20,
    shape=shape,
    timescale=timescale,
  ).make(Horizon(100, 64))

  def bend(u):
    return 1 / math.sqrt(1 + 4.0 * u) - 1

  def share(u):
    """Of the way from the peak to the constant."""
    if shape == 'cosine':
      return (1 - math.cos(math.pi * u)) / 2
    return u if shape == 'linear' else bend(u) / bend(1)

  def rate(n):
    if n <= 10:
      return 3e-3 * n / 10
    if n <= 60:
      return 3e-3 + (1.65e-3 - 3e-3) * share((n - 10) / 50)
    if n <= 80:
      return 1.65e-3
    return 1.65e-3 * math.exp(math.log(3e-4 / 1.65e-3) * (n - 80) / 20)

  expected = [rate(n) for n in range(1, 101)]
  np.testing.assert_allclose(curve(np.arange(100)), expected, rtol=2e-6)


FRACTIONS = st.floats(0.02, 0.3)


@settings(max_examples=40, deadline=None)
@given(
  steps=st.integers(100, 200_000),
  warmup=FRACTIONS,
  cooldown=FRACTIONS,
  length=FRACTIONS,
)
def test_both_conventions_give_one_curve(steps, warmup, cooldown, length):
  rest = {**RATES, 'warmup': warmup, 'cooldown': cooldown}
  by_length = from_lengths(**rest, constant_length=length)
  by_end = from_ends(**rest, constant_end=cooldown + length)
  assert by_length.annealed and by_end.annealed
  horizon = Horizon(steps, 64)
  one, other = by_length.make(horizon), by_end.make(horizon)
  assert one.boundaries == other.boundaries
  sample = np.linspace(0, steps - 1, 64).astype(np.int32)
  np.testing.assert_array_equal(one(sample), other(sample))


def test_conventions_differ_when_confused():
  """The same number means another schedule: why there are two functions."""
  rest = {**RATES, 'warmup': 0.01, 'cooldown': 0.3}
  by_length = from_lengths(**rest, constant_length=0.5).make(PUBLISHED)
  by_end = from_ends(**rest, constant_end=0.5).make(PUBLISHED)
  assert by_length.boundaries != by_end.boundaries


def test_no_warmup_by_fraction():
  schedule = from_lengths(
    **RATES, warmup=0.0, cooldown=0.5, constant_length=0.3
  )
  assert schedule.make(Horizon(100, 64)).boundaries == (50, 80, 100)


def test_annealing_later_is_annealing_at_once():
  """A trunk and a branch give the rates of one annealed run."""
  fields = {'peak': 3e-3, 'constant': 1.65e-3, 'warmup': 10, 'cooldown': 30}
  whole = Infinite(**fields, anneal=40, end=3e-4).make(Horizon(120, 64))
  trunk = Infinite(**fields).make(Horizon(60, 64))
  more = Constant('parent').make(Horizon(20, 64, trunk.last_rate))
  branch = Exponential(3e-4).make(Horizon(40, 64, more.last_rate))
  rates = np.concatenate(
    [trunk(np.arange(60)), more(np.arange(20)), branch(np.arange(40))]
  )
  np.testing.assert_allclose(rates, whole(np.arange(120)), rtol=1e-6)
