"""Figures that follow from a compiled step."""

import pytest

from tpu_lm.compiled.cost import Cost, Traffic
from tpu_lm.compiled.topology import Topology
from tpu_lm.forecast.flops import Flops
from tpu_lm.forecast.program import Program

CLOCK = 1.75e9


def program(narrow, kind='v6e', kernel_flops=0):
  """One second outside kernels on four devices, 8e14 operations on each."""
  cost = Cost(
    flops=int(8e14) - kernel_flops,
    narrow_flops=narrow,
    cycles=int(CLOCK),
    collectives={},
    custom_calls={},
    kernels={},
    host_copies=Traffic(),
    unknown_loops=(),
  )
  topology = Topology.parse(f'{kind}:2x2')
  return Program(
    topology, {}, {}, 0, 0, 0, cost, Flops(18e14, 0.0), kernel_flops
  )


@pytest.mark.parametrize(
  ('narrow', 'peak'),
  [
    ({}, 918e12),
    ({'int8': int(8e14)}, 1836e12),
    ({'int8': int(4e14)}, 1224e12),  # half of the work in a third of the time
    ({'fp8': int(8e14)}, 918e12),
  ],
)
def test_operations_are_counted_against_the_peak_of_their_format(narrow, peak):
  found = program(narrow)
  assert found.peak_flops == pytest.approx(peak)
  assert found.seconds == pytest.approx(1)
  assert found.utilisation == pytest.approx(18e14 / (4 * peak))


def test_kernels_count_at_the_peak_in_bfloat16():
  found = program({'int8': int(4e14)}, kernel_flops=int(4e14))
  assert found.peak_flops == pytest.approx(1224e12)
