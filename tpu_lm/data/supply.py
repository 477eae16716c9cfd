"""What becomes of the mixture when a source has been read often enough.

A source is exhausted when the ledger's cursor says so, and only then: it is a
function of what was read, not of how it was cut into batches or over hosts.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from tpu_lm.checks import UserError, nearest, require
from tpu_lm.data.apportion import ONE, apportion
from tpu_lm.data.ledger import REPLAY
from tpu_lm.data.mixing import Mixture, choose, settle


class Exhausted(UserError):
  """A source has no rows left that it may be drawn for."""


class Supply:
  """How many rows there are of each source, and what to do at its end.

  Attributes:
    limits: source to the rows that may be taken of it in all; sources that
      repeat for ever are not in it.
  """

  def __init__(self, mixture: Mixture, rows_per_epoch: Mapping[str, int]):
    """Turns epochs into rows.

    Args:
      mixture: says how many epochs, and what then.
      rows_per_epoch: of every source that may be drawn from, replays left
        aside.

    Raises:
      UserError: a limit is for a source that is not in the mixture, or it is
        less than a row.
    """
    caps = mixture.max_epochs
    if not isinstance(caps, Mapping):
      caps = dict.fromkeys(rows_per_epoch, caps)
    self._epochs = {n: epochs for n, epochs in caps.items() if epochs}
    self._hands_on = mixture.when_exhausted == 'hand_on'
    self.limits = {}
    for name, epochs in self._epochs.items():
      key = f'Mixture.max_epochs[{name!r}]'
      must = f'is for nothing that is read.{nearest(name, rows_per_epoch)}'
      require(name in rows_per_epoch, key, epochs, must)
      # As it is written: 0.29 of 100 rows are 29, not 28.999999999999996.
      limit = int(Fraction(str(epochs)) * rows_per_epoch[name])
      must = f'is less than one of the {rows_per_epoch[name]} rows of an epoch'
      require(limit > 0, key, epochs, must)
      self.limits[name] = limit

  def choose(
    self,
    shares: Mapping[str, int],
    debts: Mapping[str, int],
    taken: Mapping[str, int],
    rows: int,
    phase_step: int,
  ) -> tuple[np.ndarray, dict[str, int]]:
    """Chooses the source of each of the next rows, as `mixing.choose` does.

    Choosing m rows and then n gives what choosing m + n gives.

    Args:
      shares: positive, summing to 2**32.
      debts: what the previous choice returned, or none.
      taken: rows taken of each source before.
      rows: how many rows to choose.
      phase_step: for what an error says.

    Returns:
      i32[rows], indices into the order of `shares`, and the new debts.

    Raises:
      Exhausted: a source that stops, or all that hand on, have been read
        often enough.
    """
    places = {name: place for place, name in enumerate(shares)}
    left = self._left(taken)
    parts, missing = [], rows
    while missing:
      live = self._live(shares, left)
      if not live:
        raise self._exhausted(list(shares), f'at step {phase_step}')
      chosen, after = choose(live, debts, missing)
      names = list(live)
      end, name = self._first_end(chosen, names, left)
      if name and not self._hands_on:
        raise self._exhausted([name], f'at step {phase_step}')
      if end < missing:
        chosen, after = choose(live, debts, end)
      for index, count in enumerate(np.bincount(chosen)):
        if names[index] in left:
          left[names[index]] -= int(count)
      parts.append(np.array([places[n] for n in names], np.int32)[chosen])
      debts, missing = after, missing - len(chosen)
    return np.concatenate(parts), dict(debts)

  def foresee(
    self,
    stretches: Sequence[tuple[int, int, Mapping[str, int]]],
    debts: Mapping[str, int],
    taken: Mapping[str, int],
    batch_size: int,
  ) -> dict[str, int]:
    """Works out what will be taken, by shares alone, to within a row or two.

    Args:
      stretches: first step, end and shares of each stretch of steps to come.
      debts: of the mixing rule, before them.
      taken: rows taken of each source before.
      batch_size: rows in a batch.

    Returns:
      Rows taken of each source after them, at least 1 of what is drawn from.

    Raises:
      Exhausted: a source will run out on the way, certainly where the weights
        stay the same.
    """
    due = {name: Fraction(count) for name, count in taken.items()}
    for start, stop, shares in stretches:
      settled, debts = settle(shares, debts), {}
      for name, debt in settled.items():
        due[name] = due.get(name, Fraction(0)) + Fraction(debt, ONE)
      rows = Fraction((stop - start) * batch_size)
      while rows > 0:
        live = self._live(shares, self._left(due))
        when = f'at about step {int(stop - rows / batch_size)}'
        if not live:
          if rows * _fresh(shares) >= ONE:
            raise self._exhausted(list(shares), when)
          break
        rates = {name: Fraction(share, ONE) for name, share in live.items()}
        lasts = {
          name: (count + (not self._hands_on)) / rates[name]
          for name, count in self._left(due).items()
          if name in live
        }
        first = min(lasts, key=lasts.get, default=None)
        passed = rows if first is None else min(rows, max(0, lasts[first]))
        for name, rate in rates.items():
          due[name] += passed * rate
        rows -= passed
        if not self._hands_on and first and lasts[first] <= passed:
          when = f'at about step {int(stop - rows / batch_size)}'
          raise self._exhausted([first], when)
    drawn = {name for *_, shares in stretches for name in shares}
    return {n: max(round(count), int(n in drawn)) for n, count in due.items()}

  def _left(self, taken: Mapping[str, Any]) -> dict[str, Any]:
    return {n: limit - taken.get(n, 0) for n, limit in self.limits.items()}

  def _live(
    self, shares: Mapping[str, int], left: Mapping[str, Any]
  ) -> Mapping[str, int]:
    """Shares after what exhausted sources hand on; none if nobody takes it."""
    gone = {n for n in shares if self._hands_on and left.get(n, 1) <= 0}
    if not gone:
      return shares
    live = {
      name: share
      for name, share in shares.items()
      if name not in gone and not name.startswith(REPLAY)
    }
    if not live:
      return {}
    grown = apportion(live, _fresh(shares))
    return {n: grown.get(n, s) for n, s in shares.items() if n not in gone}

  def _first_end(
    self, chosen: np.ndarray, names: list[str], left: Mapping[str, int]
  ) -> tuple[int, str | None]:
    """How many rows it takes until a source ends, and which one.

    A source that hands on ends with its last row, one that stops with the row
    that it has not got.
    """
    end, first = len(chosen), None
    for index, name in enumerate(names):
      if name in left:
        count = max(1, left[name] + (not self._hands_on))
        rows = np.flatnonzero(chosen == index)[:count]
        if len(rows) == count and (first is None or rows[-1] < end):
          end, first = int(rows[-1]) + 1, name
    return end, first

  def _exhausted(self, names: list[str], when: str) -> Exhausted:
    names = [name for name in names if name in self.limits]
    told = ', '.join(
      f'{name} ({self.limits[name]:,} rows, {self._epochs[name]:g} epochs)'
      for name in names
    )
    way = '' if self._hands_on else ", set Mixture.when_exhausted = 'hand_on'"
    return Exhausted(
      f'Mixture.max_epochs: used up {when} of the phase: {told}. Allow more'
      f' epochs{way}, add sources, or shorten the phase'
    )


def _fresh(shares: Mapping[str, int]) -> int:
  """The share of all that is no replay."""
  return sum(s for name, s in shares.items() if not name.startswith(REPLAY))
