"""Which source each row comes from: a rule on integers, not a sampler.

Every source has a share of the rows, an integer of 2**32; the shares sum to
2**32. Each row adds its share to a source's debt and takes 2**32 from the
source that it is drawn from, so debts sum to 0 and a source's debt is how far
it is behind, in rows of 2**32.

The rule is Tijdeman's for the chairman assignment problem ("The chairman
assignment problem", Discrete Mathematics 32, 1980): of the sources that are
owed enough, take the one that would be owed too much soonest. For any fixed
weights, after any number of rows, every source is within 1 - 1 / (2k - 2)
rows of its share, k being the number of sources; no rule does better.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tpu_lm.checks import require
from tpu_lm.data.apportion import ONE, apportion
from tpu_lm.data.replay import Replay


def settle(
  shares: Mapping[str, int], debts: Mapping[str, int]
) -> dict[str, int]:
  """Hands the debts of sources that have no share to those that have one.

  Args:
    shares: positive, summing to 2**32.
    debts: of any sources, summing to 0.

  Returns:
    The debts of the sources in `shares`, summing to 0.
  """
  orphaned = sum(debt for name, debt in debts.items() if name not in shares)
  handed = apportion(shares, abs(orphaned))
  sign = 1 if orphaned >= 0 else -1
  return {name: debts.get(name, 0) + sign * handed[name] for name in shares}


def choose(
  shares: Mapping[str, int], debts: Mapping[str, int], rows: int
) -> tuple[np.ndarray, dict[str, int]]:
  """Chooses the source of each of the next rows.

  Choosing m rows and then n gives what choosing m + n gives.

  Args:
    shares: positive, summing to 2**32.
    debts: what the previous choice returned, or none; sources that have no
      share now are left out, and their debts handed to the others.
    rows: how many rows to choose.

  Returns:
    i32[rows], indices into the order of `shares`, and the new debts.
  """
  assert sum(shares.values()) == ONE and min(shares.values()) > 0, shares
  debts = settle(shares, debts)
  if len(shares) == 1:
    return np.zeros(rows, np.int32), debts
  # In units of 1 / (2k - 2) rows of 2**32, where the rule has no fractions.
  scale = 2 * len(shares) - 2
  share = np.array(list(shares.values()), np.int64) * scale
  debt = np.array(list(debts.values()), np.int64) * scale
  latest = scale * ONE - ONE  # no source may be owed more
  never = np.iinfo(np.int64).max
  chosen = np.empty(rows, np.int32)
  for row in range(rows):
    debt += share
    deadline = (latest - debt) // share
    deadline[debt < ONE] = never
    chosen[row] = source = deadline.argmin()
    debt[source] -= scale * ONE
  return chosen, dict(zip(shares, (debt // scale).tolist()))


@dataclasses.dataclass(frozen=True)
class Mixture:
  """The data of a phase.

  Attributes:
    weights: name of a task, of text files or of a seqio mixture (whose weight
      its tasks share by their rates) to its share of the tokens; any scale.
    changes: phase step to the weights from that step on.
    replay: a share of every batch taken from what the lineage has read.
  """

  weights: Mapping[str, float]
  changes: Mapping[int, Mapping[str, float]] = dataclasses.field(
    default_factory=dict
  )
  replay: Replay | None = None

  def __post_init__(self):
    _check_weights('Mixture.weights', self.weights)
    require(
      isinstance(self.changes, Mapping),
      'Mixture.changes',
      self.changes,
      'must map phase steps to weights',
    )
    for step, weights in self.changes.items():
      require(
        type(step) is int and step > 0,
        'Mixture.changes',
        step,
        'a phase step must be an integer >= 1',
      )
      _check_weights(f'Mixture.changes[{step}]', weights)
    require(
      self.replay is None or isinstance(self.replay, Replay),
      'Mixture.replay',
      self.replay,
      'must be a Replay or None',
    )

  def weights_at(self, phase_step: int) -> Mapping[str, float]:
    """The weights that the batch of a phase step is mixed by."""
    past = [step for step in self.changes if step <= phase_step]
    return self.changes[max(past)] if past else self.weights


def _check_weights(key: str, weights: Any) -> None:
  require(
    isinstance(weights, Mapping) and len(weights) > 0,
    key,
    weights,
    'must map names of sources to weights',
  )
  for name, weight in weights.items():
    require(
      isinstance(name, str) and not name.startswith('replay:'),
      key,
      name,
      "must be a name, not beginning with 'replay:'",
    )
    require(
      type(weight) in (int, float) and 0 <= weight < math.inf,
      f'{key}[{name!r}]',
      weight,
      'must be a finite number >= 0',
    )
  require(sum(weights.values()) > 0, key, weights, 'must not all be 0')
