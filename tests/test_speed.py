"""Speeds, on a clock of our own."""

import types

import jax
import pytest

from tpu_lm import speed
from tpu_lm.compiled.peaks import narrow_peak_flops, peak_flops
from tpu_lm.speed import Speed


@pytest.fixture
def clock(monkeypatch):
  now = types.SimpleNamespace(seconds=100.0)
  monkeypatch.setattr(speed.time, 'monotonic', lambda: now.seconds)
  return now


def test_pauses_and_compilation_are_no_steps(clock):
  timed = Speed(tokens=100, flops=1e6, taken=20, least=5)
  clock.seconds += 30  # compiles, and takes five steps of two seconds
  steps, first = timed.measure(25, last=False)
  assert steps == 5 and first['step_seconds'] == 6
  with timed.paused():
    clock.seconds += 50
  clock.seconds += 10
  steps, second = timed.measure(30, last=False)
  assert steps == 5 and second['step_seconds'] == 2
  assert second['tokens_per_second'] == 50
  assert second['model_flops_per_second'] == 5e5
  clock.seconds += 10
  _, third = timed.measure(35, last=False)
  # Fifteen steps at two seconds each, of a hundred since the phase began.
  assert third['goodput'] == pytest.approx(0.3)


def test_too_few_steps_are_not_timed_but_at_the_end(clock):
  timed = Speed(tokens=1, flops=1, taken=0, least=5)
  clock.seconds += 1
  assert timed.measure(4, last=False) == (0, {})
  steps, values = timed.measure(4, last=True)
  assert steps == 4 and values['step_seconds'] == 0.25
  assert timed.measure(4, last=True) == (0, {})


def test_of_a_device_that_is_known(clock, monkeypatch):
  chip = types.SimpleNamespace(
    device_kind='TPU v5 lite',
    memory_stats=lambda: {'peak_bytes_in_use': 7},
  )
  monkeypatch.setattr(jax, 'local_devices', lambda: [chip])
  monkeypatch.setattr(jax, 'device_count', lambda: 4)
  timed = Speed(tokens=1, flops=197e12, taken=0, least=1)
  clock.seconds += 1
  _, values = timed.measure(2, last=False)
  assert values['utilisation'] == pytest.approx(0.5)
  assert values['peak_memory_bytes'] == 7


@pytest.mark.parametrize(
  ('kind', 'peak'),
  [
    ('TPU v4', 275e12),
    ('TPU v4 lite', None),
    ('TPU v5 lite', 197e12),
    ('TPU v5', 459e12),
    ('TPU v5p', 459e12),
    ('TPU v6 lite', 918e12),
    ('TPU7x', 2307e12 / 2),
    ('NVIDIA H100 80GB HBM3', 989e12),
    ('NVIDIA H100 PCIe', None),
    ('NVIDIA A100-SXM4-40GB', 312e12),
    ('cpu', None),
  ],
)
def test_peaks(kind, peak):
  assert peak_flops(kind) == peak


@pytest.mark.parametrize(
  ('generation', 'kind', 'peak'),
  [
    ('v5e', 'int8', 393e12),
    ('v5p', 'int8', 918e12),
    ('v6e', 'int8', 1836e12),
    ('v6e', 'fp8', 918e12),  # as in bfloat16
    ('v4', 'int8', 275e12),
    ('tpu7x', 'fp8', 4614e12 / 2),
    ('tpu7x', 'int8', 2307e12 / 2),
  ],
)
def test_peaks_in_8_bits(generation, kind, peak):
  assert narrow_peak_flops(generation, kind) == peak
