"""The numbers of continual pretraining: forgetting, transfer, stability gap.

A run is a tree of phases. Two notions turn it into a table:

*Shipping.* A trunk is not a finished model. If a trunk has a child that is
annealed, has no children and reads the same sources, that child is the model
the trunk *ships*; every other phase ships itself. Of several such children
the one that branched latest is taken (then the first by order).

*Arms.* An arm is a chain of phases from a root to a last phase, shipping
branches left aside. A last trunk with several shipping branches makes one
arm for each. Arms are called after the last phase, without the words that
all of them share at the front.

Let `P[i][j]` be the validation loss, in nats a token, on source j of the
model shipped after stage i of an arm, i = 0..N. P[0] is the base: the parent
outside the run folder if there is one, as evaluated on entry, else the model
shipped by the arm's first stage. Source j's own stage s(j) is the last one
that introduced it: that read it when the stage before did not.

  forgetting         FG_j = P[N][j] - P[s(j)][j]            for s(j) < N
  backward transfer  mean over those j of P[s(j)][j] - P[N][j]
  forward transfer   mean over j and 0 < i < s(j) of P[0][j] - P[i][j]

Losses under different noise are no measure of each other. Where the last model
is evaluated on j with other noise than at s(j), P[s(j)][j] is the loss on the
entry of the first stage after s(j) with the last one's: what the stage before
knew of j, measured in the new way. Transfers leave such stages out.

Positive forgetting is loss; positive transfer is gain. After Yildiz et al.,
'Investigating Continual Pretraining in Large Language Models' (2402.17400),
with losses in place of perplexities so that differences can be averaged.

*Stability gap*: right after a switch the loss on what was known rises, and
may come back. It is measured from the parent's own loss, on entry.
"""

import dataclasses
from collections.abc import Iterable

from tpu_lm.report.record import REPLAY, VALIDATION, Phase, RunRecord


@dataclasses.dataclass(frozen=True)
class Gap:
  """The stability gap of one source after one switch.

  Attributes:
    phase: the phase switched to.
    source: a source that the parent's lineage had read.
    baseline: the parent's loss, nats a token.
    peak: highest rise above the baseline in the phase; 0 if it never rose.
    peak_after: steps from the switch to the peak; 0 if it never rose.
    back_after: steps from the switch to the first evaluation after the peak
      that is at or below the baseline; 0 if it never rose, None if it is
      above until the end of the phase.
  """

  phase: str
  source: str
  baseline: float
  peak: float
  peak_after: int
  back_after: int | None


@dataclasses.dataclass(frozen=True)
class Arm:
  """One chain of phases and what its shipped models know.

  Attributes:
    name: short, unique in the run.
    phases: from the root to the last phase.
    ships: the phase that each of `phases` ships, itself or a branch.
    rows: names of P's rows: the base outside if there is one, then `ships`.
    losses: P; a dict of every evaluated source for each row.
    own: {source: row} s(j), of the sources that the arm has read.
    forgetting: {source: FG_j}.
    backward, forward: transfers, None where there is nothing to average.
    average: mean final loss over the sources that the arm has read.
    gaps: of every switch, in order.
    replayed: whether any phase read replayed tokens.
  """

  name: str
  phases: tuple[Phase, ...]
  ships: tuple[Phase, ...]
  rows: tuple[str, ...]
  losses: tuple[dict[str, float | None], ...]
  own: dict[str, int]
  forgetting: dict[str, float]
  backward: float | None
  forward: float | None
  average: float | None
  gaps: tuple[Gap, ...]
  replayed: bool

  @property
  def final(self) -> dict[str, float | None]:
    """P[N]: the losses of the last shipped model."""
    return self.losses[-1]

  @property
  def largest_gap(self) -> Gap | None:
    """The gap with the highest peak, or None if nothing was switched."""
    return max(self.gaps, key=lambda gap: gap.peak, default=None)

  @property
  def done(self) -> bool:
    """Whether all its phases have ended."""
    return all(phase.done for phase in (*self.phases, *self.ships))


def shipping_branches(record: RunRecord, phase: Phase) -> list[Phase]:
  """The children of `phase` that qualify as the model it ships."""
  if phase.kind != 'trunk':
    return []
  branches = [
    child
    for child in record.children(phase)
    if child.kind == 'annealed'
    and set(child.sources) == set(phase.sources)
    and not record.children(child)
  ]
  return sorted(branches, key=lambda child: -child.start_step)


def find_arms(record: RunRecord) -> tuple[Arm, ...]:
  """All arms of a run, in the order in which their phases ran."""
  branches = {
    name: shipping_branches(record, phase)
    for name, phase in record.phases.items()
  }
  aside = {child.name for children in branches.values() for child in children}
  ends = []
  for phase in record.phases.values():
    children = {child.name for child in record.children(phase)}
    if phase.name not in aside and children <= aside:
      ends += [(phase, last) for last in branches[phase.name] or [phase]]
  several = {p.name for p, last in ends if len(branches[p.name]) > 1}
  names = _short_names(
    [last.name if p.name in several else p.name for p, last in ends]
  )
  arms = []
  for name, (phase, last) in zip(names, ends):
    chain = [phase]
    while chain[0].parent:
      chain.insert(0, record.phases[chain[0].parent])
    ships = [(branches[p.name] or [p])[0] for p in chain[:-1]]
    arms.append(_arm(record, name, tuple(chain), (*ships, last)))
  return tuple(arms)


def _arm(
  record: RunRecord,
  name: str,
  phases: tuple[Phase, ...],
  ships: tuple[Phase, ...],
) -> Arm:
  """Fills in P and everything computed from it."""
  rows = [ship.name for ship in ships]
  losses = [{s: ship.final(s) for s in record.evaluated} for ship in ships]
  reads = [set(phase.sources) for phase in phases]
  entries = [{s: phase.entry(s) for s in record.evaluated} for phase in phases]
  evaluated = [{s: p.noise(s) for s in record.evaluated} for p in phases]
  noises = [{s: ship.noise(s) for s in record.evaluated} for ship in ships]
  if phases[0].origin:
    entries.insert(0, dict.fromkeys(record.evaluated))
    noises.insert(0, noises[0])
    evaluated.insert(0, evaluated[0])
    rows.insert(0, phases[0].origin)
    losses.insert(0, {s: phases[0].entry(s) for s in record.evaluated})
    reads.insert(0, set(phases[0].seen))
  own: dict[str, int] = {}
  for row, sources in enumerate(reads):
    before = reads[row - 1] if row else set()
    own |= {s: row for s in record.evaluated if s in sources - before}
  last = len(rows) - 1

  def learned(source: str, row: int) -> float | None:
    """P[s(j)][j], measured as the last model is."""
    used = [noise[source] for noise in noises[row:]]
    if used[0] == used[-1]:
      return losses[row][source]
    first = row + used.index(used[-1])
    # A branch that ships may have other noise than the trunk it left.
    alike = evaluated[first][source] == used[-1]
    return entries[first][source] if alike else None

  forgetting = {
    source: losses[last][source] - learned(source, row)
    for source, row in own.items()
    if row < last
    and losses[last][source] is not None
    and learned(source, row) is not None
  }
  gains = [
    losses[0][source] - losses[row][source]
    for source, stage in own.items()
    for row in range(1, stage)
    if losses[0][source] is not None and losses[row][source] is not None
    if noises[0][source] == noises[row][source]
  ]
  final = [losses[last][source] for source in own]
  return Arm(
    name=name,
    phases=phases,
    ships=ships,
    rows=tuple(rows),
    losses=tuple(losses),
    own=own,
    forgetting=forgetting,
    backward=mean(-value for value in forgetting.values()),
    forward=mean(gains),
    average=None if None in final else mean(final),
    gaps=tuple(gap for phase in phases for gap in find_gaps(record, phase)),
    replayed=any(
      source.startswith(REPLAY) for phase in phases for source in phase.read
    ),
  )


def baseline(record: RunRecord, phase: Phase, source: str) -> float | None:
  """The parent's loss where `phase` began.

  Measured on entry; for want of that, the parent's own evaluation at or
  before that step.
  """
  value = phase.entry(source)
  if value is None and phase.parent:
    parent = record.phases[phase.parent]
    points = parent.curve(VALIDATION + source)
    value = dict(p for p in points if p[0] <= phase.start_step)
    value = value[max(value)] if value else None
  return value


def find_gaps(record: RunRecord, phase: Phase) -> list[Gap]:
  """The stability gaps on entering `phase`; [] for a first phase."""
  gaps = []
  for source in record.evaluated:
    before = baseline(record, phase, source)
    rises = [
      (step - phase.start_step, value - before)
      for step, value in phase.curve(VALIDATION + source)
      if step > phase.start_step and before is not None
    ]
    if source not in phase.seen or not rises:
      continue
    peak_after, peak = max(rises, key=lambda rise: rise[1])
    if peak <= 0:
      gaps.append(Gap(phase.name, source, before, 0.0, 0, 0))
      continue
    back = [s for s, rise in rises if s > peak_after and rise <= 0]
    gap = Gap(
      phase.name, source, before, peak, peak_after, min(back, default=None)
    )
    gaps.append(gap)
  return gaps


def mean(values: Iterable[float]) -> float | None:
  """The mean, or None of nothing."""
  values = list(values)
  return sum(values) / len(values) if values else None


def _short_names(names: list[str]) -> list[str]:
  """Drops the words, parted by '_', that all names share at the front."""
  words = [name.split('_') for name in names]
  while len(words) > 1 and all(len(w) > 1 for w in words):
    bare = any('_'.join(w[1:]).isdigit() for w in words)
    if bare or len({w[0] for w in words}) > 1:
      break
    words = [w[1:] for w in words]
  return ['_'.join(w) for w in words]
