"""Lengths, rates, curves, and what a mistake is told."""

import jax.numpy as jnp
import pytest

from tpu_lm.checks import UserError
from tpu_lm.schedules.base import (
  Curve,
  Horizon,
  Piece,
  Tokens,
  length_in_steps,
)
from tpu_lm.schedules.constant import Constant
from tpu_lm.schedules.cosine import Cosine
from tpu_lm.schedules.exponential import Exponential
from tpu_lm.schedules.infinite import Infinite, from_ends, from_lengths
from tpu_lm.schedules.inverse_square_root import InverseSquareRoot
from tpu_lm.schedules.join import Join
from tpu_lm.schedules.linear import Linear
from tpu_lm.schedules.power import Power
from tpu_lm.schedules.wsd import WSD

HORIZON = Horizon(steps=100, tokens_per_step=64)
COSINE = {'peak': 1e-3, 'end': 1e-4}
INFINITE = {'peak': 3e-3, 'constant': 1e-3}


@pytest.mark.parametrize(
  'length, steps',
  [
    (1, 1),
    (0, 0),
    (7, 7),
    (1.0, 100),
    (0.29, 29),
    (0.555, 55),
    (0.001, 1),
    (Tokens(64), 1),
    (Tokens(65), 2),
    (Tokens(1e9), 15_625_000),
  ],
)
def test_length_in_steps(length, steps):
  assert length_in_steps(length, HORIZON, 'X.length') == steps


@pytest.mark.parametrize(
  'length', [-1, 0.0, 1.5, True, None, '10', float('nan')]
)
def test_bad_length(length):
  with pytest.raises(UserError, match=r'X\.length'):
    length_in_steps(length, HORIZON, 'X.length')


def test_fractions_of_one_always_fit():
  schedule = WSD(peak=1e-3, warmup=0.3, decay=0.7)
  for steps in range(2, 200):
    assert schedule.make(Horizon(steps, 1)).boundaries[-1] == steps


def test_curve_leaves_out_empty_pieces():
  def rate(n):
    return 1.0 * n

  curve = Curve((Piece(0, rate), Piece(3, rate), Piece(0, rate)))
  assert curve.boundaries == (3,)
  assert [float(curve(step)) for step in range(5)] == [1, 2, 3, 3, 3]


def test_curve_takes_arrays():
  curve = Cosine(**COSINE, warmup=10).make(HORIZON)
  steps = jnp.arange(12).reshape(3, 4)
  assert curve(steps).shape == (3, 4)
  assert float(curve(steps)[2, 1]) == float(curve(9)) == pytest.approx(1e-3)


def bad(key, make):
  return pytest.param(key, make, id=key)


@pytest.mark.parametrize(
  'key, make',
  [
    bad('Tokens.count', lambda: Tokens(0)),
    bad('Constant.rate', lambda: Constant(0)),
    bad('Constant.rate', lambda: Constant('parents')),
    bad('Constant.rate', lambda: Constant(float('inf'))),
    bad('Cosine.peak', lambda: Cosine(peak=-1.0, end=0.0)),
    bad('Cosine.peak', lambda: Cosine(peak='1e-3', end=0.0)),
    bad('Cosine.peak', lambda: Cosine(peak=True, end=0.0)),
    bad('Cosine.end', lambda: Cosine(peak=1e-3, end=2e-3)),
    bad('Cosine.end', lambda: Cosine(peak=1e-3, end=None)),
    bad('Cosine.warmup', lambda: Cosine(**COSINE, warmup=0.0)),
    bad('Cosine.warmup', lambda: Cosine(**COSINE, warmup=-5)),
    bad('Cosine.warmup', lambda: Cosine(peak='parent', end=1e-4)),
    bad('Cosine.start', lambda: Cosine(**COSINE, start=-1)),
    bad('Cosine.start', lambda: Cosine(**COSINE, warmup=0, start='parent')),
    bad('Linear.end', lambda: Linear(peak=1e-3, end=-1e-5)),
    bad('WSD.shape', lambda: WSD(peak=1e-3, shape='liner')),
    bad('WSD.shape', lambda: WSD(peak=1e-3, shape=['linear'])),
    bad('WSD.decay', lambda: WSD(peak=1e-3, decay=0)),
    bad('WSD.end', lambda: WSD(peak=1e-3, shape='exponential')),
    bad('Power.warmup', lambda: Power(peak=1e-3, warmup=0)),
    bad('Power.exponent', lambda: Power(peak=1e-3, exponent=0.5)),
    bad('Power.end', lambda: Power(peak=1e-3, tail=0, end=1e-5)),
    bad('Exponential.end', lambda: Exponential(0)),
    bad('Exponential.end', lambda: Exponential(1e-3, start=1e-4)),
    bad(
      'InverseSquareRoot.timescale',
      lambda: InverseSquareRoot(peak=1e-3, warmup=0),
    ),
    bad('Infinite.constant', lambda: Infinite(peak=1e-3, constant=2e-3)),
    bad('Infinite.constant', lambda: Infinite(peak=1e-3, constant=0)),
    bad('Infinite.end', lambda: Infinite(**INFINITE, anneal=0.1)),
    bad('Infinite.end', lambda: Infinite(**INFINITE, anneal=0.1, end=0)),
    bad('Infinite.end', lambda: Infinite(**INFINITE, anneal=0.1, end=2e-3)),
    bad('Infinite.end', lambda: Infinite(**INFINITE, end=1e-4)),
    bad('Infinite.cooldown', lambda: Infinite(**INFINITE, cooldown=0)),
    bad('Infinite.shape', lambda: Infinite(**INFINITE, shape='sine')),
    bad('Infinite.timescale', lambda: Infinite(**INFINITE, timescale=10)),
    bad('Join.parts', lambda: Join([Constant(1e-3)], [])),
    bad('Join.lengths', lambda: Join([Constant(1e-3)] * 2, [])),
    bad(r'Join.lengths\[0\]', lambda: Join([Constant(1e-3)] * 2, [0])),
    bad(r'Join.parts\[1\]', lambda: Join([Constant(1e-3), 1e-3], [10])),
    bad(
      'from_lengths',
      lambda: from_lengths(
        **INFINITE, end=1e-4, warmup=0.1, cooldown=0.6, constant_length=0.3
      ),
    ),
    bad(
      'from_ends.constant_end',
      lambda: from_ends(
        **INFINITE, end=1e-4, warmup=0.1, cooldown=0.6, constant_end=0.3
      ),
    ),
  ],
)
def test_bad_values_name_their_key(key, make):
  with pytest.raises(UserError, match=key):
    make()


@pytest.mark.parametrize(
  'key, schedule',
  [
    ('Constant.rate', Constant('parent')),
    ('Cosine.start', Cosine(**COSINE, start='parent')),
    ('Exponential.start', Exponential(1e-5)),
    ('Linear.peak', Linear(peak='parent', warmup=0)),
  ],
)
def test_parent_rate_needs_a_parent(key, schedule):
  with pytest.raises(UserError, match=f'{key}.*no parent'):
    schedule.make(HORIZON)


@pytest.mark.parametrize(
  'key, schedule',
  [
    ('Constant.rate', Constant('parent')),
    ('Exponential.start', Exponential(1e-5)),
    ('Linear.peak', Linear(peak='parent', warmup=0)),
  ],
)
def test_a_parent_annealed_to_nothing_gives_no_rate(key, schedule):
  with pytest.raises(UserError, match=key):
    schedule.make(Horizon(100, 64, parent_rate=0.0))


@pytest.mark.parametrize(
  'key, schedule',
  [
    ('Exponential.end', Exponential(1e-3)),
    ('Linear.end', Linear(peak='parent', end=1e-3, warmup=0)),
    ('WSD.end', WSD(peak='parent', end=1e-3, warmup=0)),
    ('Cosine.end', Cosine(peak='parent', end=1e-3, warmup=0)),
    ('Infinite.constant', Infinite(peak='parent', constant=1e-3, warmup=0)),
  ],
)
def test_an_end_above_the_parents_rate(key, schedule):
  with pytest.raises(UserError, match=key):
    schedule.make(Horizon(100, 64, parent_rate=1e-4))


@pytest.mark.parametrize(
  'keys, schedule',
  [
    (['Cosine.warmup'], Cosine(**COSINE, warmup=100)),
    (['WSD.warmup', 'WSD.decay'], WSD(peak=1e-3, warmup=60, decay=50)),
    (['Infinite.cooldown'], Infinite(**INFINITE, cooldown=Tokens(64 * 101))),
    (['Join.lengths'], Join([Constant(1e-3), Constant(1e-3)], [100])),
  ],
)
def test_lengths_that_do_not_fit(keys, schedule):
  with pytest.raises(UserError) as caught:
    schedule.make(HORIZON)
  assert all(key in str(caught.value) for key in keys)
