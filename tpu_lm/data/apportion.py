"""Sharing out a whole number of things in proportion to weights."""

import math
from collections.abc import Mapping

ONE = 2**32  # one row of the mixing rule


def apportion(weights: Mapping[str, float], total: int) -> dict[str, int]:
  """Splits an integer in proportion to weights, by largest remainder.

  Args:
    weights: finite, not negative, not all 0.
    total: what to split, at least 0.

  Returns:
    Integers that sum to `total`, each within 1 of its exact part. They depend
    on names and weights, not on the mapping's order, which they keep.
  """
  ratios = {n: float(w).as_integer_ratio() for n, w in weights.items()}
  scale = math.lcm(*(bottom for _, bottom in ratios.values()))
  exact = {n: top * (scale // bottom) for n, (top, bottom) in ratios.items()}
  whole = sum(exact.values())
  parts = {n: part * total // whole for n, part in exact.items()}
  by_remainder = sorted(exact, key=lambda n: (-(exact[n] * total % whole), n))
  for name in by_remainder[: total - sum(parts.values())]:
    parts[name] += 1
  return parts
