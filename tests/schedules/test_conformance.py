"""One suite for every schedule: add a line to SCHEDULES."""

import dataclasses

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpu_lm.schedules.base import Horizon, Schedule, Tokens
from tpu_lm.schedules.constant import Constant
from tpu_lm.schedules.cosine import Cosine
from tpu_lm.schedules.exponential import Exponential
from tpu_lm.schedules.infinite import Infinite
from tpu_lm.schedules.inverse_square_root import InverseSquareRoot
from tpu_lm.schedules.join import Join
from tpu_lm.schedules.linear import Linear
from tpu_lm.schedules.power import Power
from tpu_lm.schedules.wsd import WSD

INFINITE = {'peak': 3e-3, 'constant': 1.65e-3, 'warmup': 0.05, 'cooldown': 0.5}
ANNEALED = {**INFINITE, 'anneal': 0.2, 'end': 3e-4}

# name: (schedule, whether it ends annealed)
SCHEDULES = {
  'constant': (Constant(1e-3), False),
  'constant parent': (Constant('parent'), False),
  'linear': (Linear(peak=1e-3, end=1e-4, warmup=10), True),
  'linear branch': (Linear(peak='parent', end=1e-5, warmup=0), True),
  'cosine': (Cosine(peak=3e-3, end=3e-4, warmup=Tokens(3000)), True),
  'cosine re-warmed': (Cosine(peak=3e-3, end=3e-4, start='parent'), True),
  'inverse square root': (InverseSquareRoot(peak=1e-3, warmup=0.1), False),
  'inverse square root on': (
    InverseSquareRoot(peak='parent', warmup=0, timescale=50),
    False,
  ),
  'wsd linear': (WSD(peak=1e-3, end=1e-5), True),
  'wsd sqrt': (WSD(peak=1e-3, end=1e-5, shape='one_minus_sqrt'), True),
  'wsd exponential': (WSD(peak=1e-3, end=1e-5, shape='exponential'), True),
  'wsd without stable': (WSD(peak=1e-3, end=0.1e-3, warmup=0, decay=1.0), True),
  'power': (Power(peak=1e-3, end=1e-5), True),
  'power trunk': (Power(peak=1e-3, tail=0), False),
  'infinite cosine': (Infinite(**INFINITE), False),
  'infinite linear': (Infinite(**INFINITE, shape='linear'), False),
  'infinite inverse': (
    Infinite(**INFINITE, shape='inverse_square_root', timescale=10),
    False,
  ),
  'infinite annealed': (Infinite(**ANNEALED), True),
  'exponential': (Exponential(1e-6), True),
  'join': (
    Join(
      (Cosine(peak=3e-3, end=1e-3), Constant('parent'), Exponential(1e-5)),
      (0.5, 60),
    ),
    True,
  ),
}
HORIZON = Horizon(steps=200, tokens_per_step=128, parent_rate=2e-4)


@pytest.fixture(params=SCHEDULES)
def name(request) -> str:
  return request.param


@pytest.fixture
def schedule(name) -> Schedule:
  return SCHEDULES[name][0]


@pytest.fixture
def curve(schedule):
  return schedule.make(HORIZON)


def rates_of(curve, steps=HORIZON.steps) -> np.ndarray:
  return np.asarray(curve(np.arange(steps)))


def test_says_whether_it_ends_annealed(name, schedule):
  assert schedule.annealed is SCHEDULES[name][1]


def test_is_finite_and_positive(curve):
  rates = rates_of(curve)
  assert rates.dtype == np.float32
  assert np.all(np.isfinite(rates)) and np.all(rates > 0)


def test_takes_the_whole_phase(curve):
  assert curve.boundaries[-1] == HORIZON.steps
  assert all(piece.length > 0 for piece in curve.pieces)


def test_is_continuous_at_joints(curve):
  for before, after in zip(curve.pieces, curve.pieces[1:]):
    assert abs(float(before(before.length)) - float(after(0))) < 1e-9


def test_jit_equals_eager(curve):
  jitted = jax.jit(curve)
  for step in (0, 1, 57, HORIZON.steps - 1, HORIZON.steps + 5):
    # The compiler may fuse a multiplication and an addition.
    np.testing.assert_allclose(jitted(step), curve(step), rtol=0, atol=1e-9)
    assert jitted(step).shape == () and jitted(step).dtype == np.float32


def test_rises_only_to_warm_up(schedule, curve):
  rates = rates_of(curve)
  warm = 0 if getattr(schedule, 'warmup', 0) == 0 else curve.boundaries[0]
  if isinstance(schedule, Join):
    warm = curve.boundaries[0]
  slack = 1e-6 * rates.max()
  assert np.all(np.diff(rates[:warm]) > 0)
  assert np.all(np.diff(rates[max(warm - 1, 0) :]) <= slack)


def test_holds_after_the_end(curve):
  last = float(curve(HORIZON.steps - 1))
  assert curve.last_rate == last
  assert float(curve(HORIZON.steps)) == last
  assert float(curve(10**9)) == last


def test_ends_where_it_says(schedule, curve):
  end = getattr(schedule, 'end', None)
  if schedule.annealed and end is not None:
    np.testing.assert_allclose(curve.last_rate, end, rtol=1e-6)


def test_first_step_trains(schedule, curve):
  start = getattr(schedule, 'start', 0.0)
  if start == 0.0:
    assert float(curve(0)) > 0


def test_a_copy_makes_the_same_curve(schedule, curve):
  copy = dataclasses.replace(schedule).make(HORIZON)
  np.testing.assert_array_equal(rates_of(copy), rates_of(curve))


@settings(max_examples=25, deadline=None)
@given(
  steps=st.integers(50, 100_000),
  parent=st.floats(1e-6, 1e-2),
  data=st.data(),
)
def test_any_length_is_continuous_and_whole(steps, parent, data):
  name = data.draw(st.sampled_from(sorted(SCHEDULES)))
  schedule, annealed = SCHEDULES[name]
  if 'end' in vars(schedule) and annealed:
    parent = max(parent, 1e-4)
  if isinstance(schedule, Join):
    steps = max(steps, 200)
  curve = schedule.make(Horizon(steps, 128, parent))
  assert curve.boundaries[-1] == steps
  for before, after in zip(curve.pieces, curve.pieces[1:]):
    assert abs(float(before(before.length)) - float(after(0))) < 1e-9
  rates = np.asarray(curve(np.linspace(0, steps - 1, 64).astype(np.int32)))
  assert np.all(np.isfinite(rates)) and np.all(rates > 0)
