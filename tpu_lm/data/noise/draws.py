"""Random numbers that are computed from keys: any of them, in any order.

Number i of a key is SplitMix64's at its i-th step from a seed that the key and
the purpose give (Steele, Lea and Flood 2014, figure 17): a counter through a
mixer, without state.
"""

import numpy as np

from tpu_lm.data.group_order import mix
from tpu_lm.data.noise.base import salt

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def bits(keys: np.ndarray, count: int, purpose: str) -> np.ndarray:
  """Draws u64[n, count]: `count` numbers for each key.

  Args:
    keys: u64[n].
    count: how many for each.
    purpose: what they are for; numbers of other purposes are independent.
  """
  seeds = mix(np.asarray(keys, np.uint64) ^ salt(purpose))
  counters = np.arange(1, count + 1, dtype=np.uint64) * GOLDEN
  return mix(seeds[:, None] + counters)


def uniform(keys: np.ndarray, count: int, purpose: str) -> np.ndarray:
  """Draws f64[n, count] from [0, 1)."""
  return (bits(keys, count, purpose) >> np.uint64(11)) * 2.0**-53


def below(
  keys: np.ndarray, limits: np.ndarray, count: int, purpose: str
) -> np.ndarray:
  """Draws i64[n, count] from 0 to limits - 1.

  Args:
    keys: u64[n].
    limits: i64[n] or one number, at least 1 and below 2**32.
    count: how many for each key.
    purpose: as of `bits`.
  """
  high = bits(keys, count, purpose) >> np.uint64(32)
  limits = np.broadcast_to(np.asarray(limits, np.uint64), (len(keys),))
  return (high * limits[:, None] >> np.uint64(32)).astype(np.int64)
