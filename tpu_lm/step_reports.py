"""What steps report: fetched late, so that the device never waits; logged."""

import dataclasses
import math
from collections.abc import Sequence

import jax

from tpu_lm.data.ledger import Ledger
from tpu_lm.run_log import RunLog, named_values


class Stopped(Exception):
  """The run can't go on: a number is bad."""


@dataclasses.dataclass(frozen=True)
class BadStep:
  """A step from which nothing was kept.

  Attributes:
    taken: steps of the phase, with it.
    why: what was bad, as a line.
    policy: of `guard.Guard`.
    before: the ledger before it.
    after: the ledger after it.
  """

  taken: int
  why: str
  policy: str
  before: Ledger
  after: Ledger


class StepReports:
  """The reports of a phase's steps, in order.

  Args:
    stage: the phase in its place.
    log: where they are written.
    log_every: steps between lines.
    series: source and objective of each series, see `run_log.named_values`.
  """

  def __init__(
    self,
    stage,
    log: RunLog,
    log_every: int,
    series: Sequence[tuple[str, str]],
  ):
    self._stage, self._phase, self._log = stage, stage.phase, log
    self._log_every, self._series = log_every, series
    self._waiting: list[tuple[int, dict, Ledger, Ledger]] = []
    self.fetched, self.loss = 0, math.nan

  def put(self, taken: int, report: dict, before: Ledger, after: Ledger):
    """Takes a step's report, and the ledgers before and after it."""
    self._waiting.append((taken, report, before, after))

  def fetch(self, keep: int = 0) -> list[BadStep]:
    """Fetches and logs all but the `keep` newest, which may still run.

    Returns:
      The steps that the phase's guard found bad.

    Raises:
      Stopped: there is no guard, and a number is not finite.
    """
    ready = self._waiting[: len(self._waiting) - keep]
    self._waiting = self._waiting[len(ready) :]
    reports = jax.device_get([report for _, report, _, _ in ready])
    bad = []
    for (taken, _, before, after), report in zip(ready, reports, strict=True):
      self.fetched, found = taken, None
      values = named_values(report, self._series)
      if self._phase.guard is not None:
        found = self._phase.guard.judge(report)
        values['guard/score'] = float(report['guard']['scores'].max())
      if found is not None:
        bad.append(BadStep(taken, *found, before, after))
        values = {n: v for n, v in values.items() if math.isfinite(v)}
        values['guard/skipped'] = 1.0
      self.check_finite(values, taken)
      self.loss = values.get('train/loss', self.loss)
      due = taken % self._log_every == 0 or taken == self._phase.steps
      if due or found is not None:
        self._log.metrics(*self._stage.place(taken), values)
    return bad

  def check_finite(self, values: dict[str, float], taken: int) -> None:
    """Stopped unless all numbers of a step are finite."""
    for name, value in values.items():
      if not math.isfinite(value):
        trained = not name.startswith('validation')
        skipping = ', or have such steps skipped (Phase.guard)' * trained
        raise Stopped(
          f'{name} is {value} at step {taken} of phase {self._phase.name!r}:'
          f' look at the data{skipping}, or begin a phase with a lower learning'
          ' rate. Nothing of it was saved'
        )
