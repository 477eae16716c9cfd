"""Checksums change with every bit, and with nothing else."""

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import tiny
from tpu_lm.checksums import checksums

DTYPES = ('float32', 'bfloat16', 'float16', 'int32', 'uint8', 'int8', 'bool')


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(DTYPES), st.integers(0, 59), st.integers(0, 31))
def test_every_flipped_bit_shows(dtype, place, bit):
  dtype = np.dtype(getattr(ml_dtypes, dtype, dtype))
  array = np.random.default_rng(place).integers(0, 2, (3, 4, 5)).astype(dtype)
  other = array.copy()
  raw = other.reshape(-1).view(f'u{dtype.itemsize}')
  width = 1 if dtype.kind == 'b' else 8 * dtype.itemsize
  raw[place] ^= 1 << bit % width
  try:
    assert checksums({'a': array}) != checksums({'a': other})
  except FloatingPointError:
    assert not np.all(np.isfinite(other.astype(np.float32)))


def test_places_matter():
  rows = np.arange(12, dtype=np.float32).reshape(3, 4)
  for moved in (rows[::-1], rows[:, ::-1], rows[[0, 2, 1]], rows * 0):
    assert checksums({'a': rows}) != checksums({'a': moved.copy()})


def test_names_and_empty_arrays():
  found = checksums({'a': {'b': jnp.zeros(0)}, 'c': jnp.int32(7)})
  assert list(found) == ['a/b', 'c']
  assert found['a/b'] == '0' * 16 and len(found['c']) == 16


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_named(bad):
  with pytest.raises(FloatingPointError, match='x/y is not finite'):
    checksums({'x': {'y': np.array([1.0, bad, 2.0], np.float32)}})


LAID_OUT = """
import json, sys
import jax, jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from tpu_lm.checksums import checksums

mesh = jax.make_mesh((4, 2), ('a', 'b'), axis_types=(AxisType.Auto,) * 2)
array = jnp.sin(jnp.arange(8 * 6 * 4.0)).reshape(8, 6, 4)
for spec in (P(), P('a'), P('b', None, 'a'), P(('a', 'b'))):
  placed = jax.device_put(array, NamedSharding(mesh, spec))
  print(checksums({'x': placed})['x'])
host = NamedSharding(mesh, P('a'), memory_kind='pinned_host')
print(checksums({'x': jax.device_put(array, host)})['x'])
"""


def test_the_layout_does_not_matter():
  lines = tiny.on_devices(LAID_OUT)
  assert len(lines) == 5 and len(set(lines)) == 1
  array = jnp.sin(jnp.arange(8 * 6 * 4.0)).reshape(8, 6, 4)
  assert checksums({'x': array})['x'] == lines[0]
