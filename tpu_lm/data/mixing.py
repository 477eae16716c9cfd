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
import heapq
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tpu_lm.checks import check_number, is_number, require
from tpu_lm.data.apportion import ONE, apportion
from tpu_lm.data.noise.base import MaskNoiser, Noiser
from tpu_lm.data.replay import Replay
from tpu_lm.data.weights import Weights, names_of

POLICIES = ('stop', 'hand_on')


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
  # A debt is kept as it was before the first row, less what was taken since:
  # then neither the row that a source is owed enough at nor the row that it
  # would be owed too much at moves until it is drawn from, and two heaps do.
  row_of_debt = (2 * len(shares) - 2) * ONE
  share = [part * (2 * len(shares) - 2) for part in shares.values()]
  debt = [debts[name] * (2 * len(shares) - 2) for name in shares]
  latest = row_of_debt - ONE  # no source may be owed more
  waiting = [(_first_row(d, s), i) for i, (d, s) in enumerate(zip(debt, share))]
  heapq.heapify(waiting)
  ready: list[tuple[int, int]] = []
  chosen = np.empty(rows, np.int32)
  for row in range(1, rows + 1):
    while waiting and waiting[0][0] <= row:
      _, source = heapq.heappop(waiting)
      deadline = (latest - debt[source]) // share[source]
      heapq.heappush(ready, (deadline, source))
    _, source = heapq.heappop(ready)
    chosen[row - 1] = source
    debt[source] -= row_of_debt
    first = _first_row(debt[source], share[source])
    heapq.heappush(waiting, (first, source))
  after = (d + rows * s for d, s in zip(debt, share))
  return chosen, {n: d // (2 * len(shares) - 2) for n, d in zip(shares, after)}


def _first_row(debt: int, share: int) -> int:
  """The row, counted from 1, that first finds a source owed enough."""
  return -((debt - ONE) // share)


@dataclasses.dataclass(frozen=True)
class Mixture:
  """The data of a phase.

  Attributes:
    weights: name of a task, of files or of a seqio mixture (whose weight its
      tasks share by their rates) to its share of the rows, at any scale; or
      one of `weights.py`, which works them out from the sources' sizes.
    changes: phase step to the weights from that step on.
    replay: a share of every batch taken from what the lineage has read.
    max_epochs: how often a source may be read in the whole lineage (at one
      sequence length, as long as its data stay the same), a fraction allowed:
      one number for all, or a mapping by name, of the tasks where a seqio
      mixture is named. None, or a name left out: it repeats for ever. Replays
      are not limited.
    when_exhausted: what becomes of a source that was read so often. 'stop':
      that it would be drawn from is an error, told before training as far as
      it can be foreseen. 'hand_on': from that row on its share goes to the
      others in proportion, replays left aside, until none is left.
    noise: a dataclass of `noise/`: what becomes of every source's text, whole
      examples left as they are; or a mapping by name, of the tasks where a
      seqio mixture is named, so that sources with objectives of their own meet
      in one batch. None, or a name left out: what models of the kind usually
      learn, see `rows.open_rows`.
  """

  weights: Mapping[str, float] | Weights
  changes: Mapping[int, Mapping[str, float] | Weights] = dataclasses.field(
    default_factory=dict
  )
  replay: Replay | None = None
  max_epochs: float | Mapping[str, float] | None = None
  when_exhausted: str = 'stop'
  noise: Noiser | Mapping[str, Noiser | None] | None = None

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
    key, caps = 'Mixture.max_epochs', self.max_epochs
    caps = caps if isinstance(caps, Mapping) else {'': caps}
    for name, epochs in caps.items():
      require(isinstance(name, str), key, caps, 'must be by name of a source')
      where = f'{key}[{name!r}]' if name else key
      if epochs is not None or name:
        check_number(where, epochs, above=0)
    require(
      self.when_exhausted in POLICIES,
      'Mixture.when_exhausted',
      self.when_exhausted,
      f'must be one of {", ".join(POLICIES)}',
    )

    noisers = (
      self.noise if isinstance(self.noise, Mapping) else {'': self.noise}
    )
    for name, noiser in noisers.items():
      good = isinstance(name, str)
      must = 'must be by name of a source'
      require(good, 'Mixture.noise', self.noise, must)
      require(
        noiser is None or isinstance(noiser, Noiser),
        f'Mixture.noise[{name!r}]' if name else 'Mixture.noise',
        noiser,
        'must be of noise/, in gin such as @prefix.Prefix()',
      )

  @property
  def sources(self) -> tuple[str, ...]:
    """Every name that any step's weights have, replays left aside."""
    every = (self.weights, *self.changes.values())
    names = (n for weights in every for n in names_of(weights))
    return tuple(dict.fromkeys(names))

  def noise_of(self, source: str, whole: bool) -> Noiser | None:
    """What becomes of the text of a source, whether read anew or replayed.

    Args:
      source: its name.
      whole: whether it is of whole examples; a noiser for all sources leaves
        them as they are, unless it hides tokens where they stand.
    """
    if isinstance(self.noise, Mapping):
      return self.noise.get(source)
    if whole and not isinstance(self.noise, MaskNoiser):
      return None
    return self.noise

  def weights_at(self, phase_step: int) -> Mapping[str, float] | Weights:
    """The weights that the batch of a phase step is mixed by."""
    past = [step for step in self.changes if step <= phase_step]
    return self.changes[max(past)] if past else self.weights


def _check_weights(key: str, weights: Any) -> None:
  if hasattr(weights, 'resolve') and not isinstance(weights, type):
    return  # it has checked itself
  require(
    isinstance(weights, Mapping) and len(weights) > 0,
    key,
    weights,
    'must map names of sources to weights, or be one of weights.py',
  )
  for name, weight in weights.items():
    require(
      isinstance(name, str) and not name.startswith('replay:'),
      key,
      name,
      "must be a name, not beginning with 'replay:'",
    )
    require(
      is_number(weight) and weight >= 0,
      f'{key}[{name!r}]',
      weight,
      'must be a finite number >= 0',
    )
  good = 0 < sum(weights.values()) < math.inf
  require(good, key, weights, 'must have a finite sum above 0')
