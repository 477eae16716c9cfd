"""Rates against formulas written out again, in float64."""

import math

import numpy as np
import pytest

from tpu_lm.schedules.base import Horizon
from tpu_lm.schedules.constant import Constant
from tpu_lm.schedules.cosine import Cosine
from tpu_lm.schedules.exponential import Exponential
from tpu_lm.schedules.inverse_square_root import InverseSquareRoot
from tpu_lm.schedules.join import Join
from tpu_lm.schedules.linear import Linear
from tpu_lm.schedules.power import Power
from tpu_lm.schedules.wsd import WSD

HORIZON = Horizon(steps=100, tokens_per_step=64, parent_rate=5e-4)
STEPS = range(100)


def expect(schedule, rate_after, horizon=HORIZON):
  """Compares with `rate_after(n)`, n steps taken."""
  curve = schedule.make(horizon)
  rates = curve(np.arange(horizon.steps))
  expected = [rate_after(step + 1) for step in range(horizon.steps)]
  np.testing.assert_allclose(rates, expected, rtol=2e-6, atol=1e-11)


def test_constant():
  expect(Constant(1e-3), lambda n: 1e-3)
  expect(Constant('parent'), lambda n: 5e-4)


def test_linear():
  def rate(n):
    return 1e-3 * n / 10 if n <= 10 else 1e-3 * (100 - n) / 90

  expect(Linear(peak=1e-3, warmup=10), rate)


def test_a_long_warm_up_is_exact_from_its_first_step():
  curve = Linear(peak=3e-4, warmup=1_000_000).make(Horizon(2_000_000, 64))
  assert float(curve(0)) == pytest.approx(3e-10, rel=1e-6)
  assert float(curve(999_999)) == np.float32(3e-4)


def test_cosine():
  def rate(n):
    if n <= 10:
      return 1e-3 * n / 10
    return 1e-4 + 9e-4 * 0.5 * (1 + math.cos(math.pi * (n - 10) / 90))

  expect(Cosine(peak=1e-3, end=1e-4, warmup=0.1), rate)


def test_rewarmed_cosine():
  def rate(n):
    if n <= 4:
      return 5e-4 + (3e-3 - 5e-4) * n / 4
    return 3e-4 + 2.7e-3 * 0.5 * (1 + math.cos(math.pi * (n - 4) / 96))

  expect(Cosine(peak=3e-3, end=3e-4, warmup=0.04, start='parent'), rate)


def test_a_child_goes_on_from_its_parents_last_rate():
  parent = Cosine(peak=1e-3, end=1e-4).make(HORIZON)
  horizon = Horizon(10, 64, parent_rate=parent.last_rate)
  child = Cosine(peak=1e-3, end=1e-4, warmup=5, start='parent').make(horizon)
  assert abs(float(child.pieces[0](0)) - parent.last_rate) < 1e-9
  step = (1e-3 - parent.last_rate) / 5
  assert float(child(0)) == pytest.approx(parent.last_rate + step, rel=1e-6)


@pytest.mark.parametrize(
  'shape, fall',
  [
    ('linear', lambda u: 1e-3 - 9e-4 * u),
    ('one_minus_sqrt', lambda u: 1e-4 + 9e-4 * (1 - math.sqrt(u))),
    ('exponential', lambda u: 1e-3 * 10**-u),
  ],
)
def test_wsd(shape, fall):
  def rate(n):
    if n <= 10:
      return 1e-3 * n / 10
    return 1e-3 if n <= 80 else fall((n - 80) / 20)

  expect(WSD(peak=1e-3, end=1e-4, warmup=10, decay=0.2, shape=shape), rate)


def test_inverse_square_root_is_that_of_the_transformer():
  def rate(n):
    return 1e-3 * min(n / 16, math.sqrt(16 / n))

  expect(InverseSquareRoot(peak=1e-3, warmup=16), rate)


def test_inverse_square_root_goes_on_in_a_child():
  whole = InverseSquareRoot(peak=1e-3, warmup=16).make(Horizon(200, 64))
  first = InverseSquareRoot(peak=1e-3, warmup=16).make(HORIZON)
  second = InverseSquareRoot(peak='parent', warmup=0, timescale=100)
  second = second.make(Horizon(100, 64, first.last_rate))
  np.testing.assert_allclose(
    second(np.arange(100)), whole(np.arange(100, 200)), rtol=1e-6
  )


def test_power():
  knee = 1e-3 * (90 / 5) ** -0.51

  def rate(n):
    if n <= 5:
      return 1e-3 * n / 5
    return 1e-3 * (n / 5) ** -0.51 if n <= 90 else knee * (100 - n) / 10

  expect(Power(peak=1e-3, warmup=5), rate)
  trunk = Power(peak=1e-3, warmup=5, tail=0)
  assert trunk.make(HORIZON).last_rate == pytest.approx(1e-3 * 20**-0.51)


def test_exponential():
  expect(Exponential(5e-6), lambda n: 5e-4 * 0.01 ** (n / 100))


def test_join():
  def rate(n):
    if n <= 50:
      return 1e-3 - 8e-4 * n / 50
    return 2e-4 if n <= 70 else 2e-4 * 0.1 ** ((n - 70) / 30)

  parts = [
    Linear(peak=1e-3, end=2e-4, warmup=0),
    Constant('parent'),
    Exponential(2e-5),
  ]
  expect(Join(parts, [0.5, 20]), rate)


def test_join_begins_at_the_phases_parent():
  joined = Join([Constant('parent'), Constant(1e-3)], [30]).make(HORIZON)
  assert float(joined(29)) == pytest.approx(5e-4)
  assert float(joined(30)) == pytest.approx(1e-3)


def test_a_jump_is_between_two_steps():
  cosine = Cosine(peak=1e-3, end=1e-4, warmup=2)
  joined = Join([cosine, cosine], [50]).make(HORIZON)
  alone = cosine.make(Horizon(50, 64))(np.arange(50))
  np.testing.assert_array_equal(joined(np.arange(50)), alone)
  np.testing.assert_array_equal(joined(np.arange(50, 100)), alone)


def test_a_fraction_in_a_part_is_of_the_part():
  part = Linear(peak=1e-3, warmup=0.5)
  assert Join([part, part], [40]).make(HORIZON).boundaries == (20, 40, 70, 100)
