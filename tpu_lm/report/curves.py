"""Curves over lineage steps: learning rates, losses, stability gaps."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tpu_lm.report.measures import Arm, baseline
from tpu_lm.report.panels import (
  LINE,
  Points,
  bad_steps,
  columns,
  make_rows,
  phase_strip,
  pieces,
  set_margins,
  share_steps,
)
from tpu_lm.report.record import VALIDATION, Phase, RunRecord
from tpu_lm.report.style import (
  INK,
  MUTED,
  WIDTH,
  arm_style,
  label_ends,
  source_style,
)
from tpu_lm.report.words import shortened

GAP_PANELS = 12  # at most, those of the largest gaps


def branches(arm: Arm) -> list[Phase]:
  """The arm's shipping branches."""
  return [s for p, s in zip(arm.phases, arm.ships) if s is not p]


def learning_rates(record: RunRecord, arms: Sequence[Arm]) -> Figure:
  """One row for each arm: its learning rate, branches drawn thin."""
  colours = arm_style([arm.name for arm in arms])
  figure, rows = make_rows(len(arms), 0.72, top=0.5)
  share_steps(rows, arms)
  highest = 0.0
  for arm, axes in zip(arms, rows):
    style = colours[arm.name]
    for phase, points in pieces(arm, 'learning_rate'):
      axes.plot(*columns(_entered(record, phase) + points), **style)
      highest = max([highest, *(value for _, value in points)])
    for branch in branches(arm):
      points = _entered(record, branch) + branch.curve('learning_rate')
      axes.plot(*columns(points), color=style['color'], linewidth=0.9)
    phase_strip(record, arm, axes)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.set_title(arm.name, pad=19, color=style['color'])
  exponent = math.floor(math.log10(highest)) if highest else 0
  for axes in rows:
    axes.set_ylim(-0.02 * highest, 1.08 * highest or 1)
    axes.yaxis.set_major_formatter(
      lambda value, _, e=exponent: f'{value / 10**e:.3g}e{e}' if value else '0'
    )
  return figure


def _entered(record: RunRecord, phase: Phase) -> Points:
  """The parent's learning rate where `phase` left it; [] for a root."""
  if not phase.parent:
    return []
  before = record.phases[phase.parent].curve('learning_rate')
  before = [value for step, value in before if step <= phase.start_step]
  return [(phase.start_step, before[-1])] if before else []


def losses(record: RunRecord, arms: Sequence[Arm]) -> Figure:
  """One row for each arm: the validation loss on every source."""
  colours = source_style(record.sources)
  height = max(1.35, LINE * len(record.evaluated))
  texts = [f'{source} 0.000' for source in record.evaluated]
  figure, rows = make_rows(len(arms), height, top=0.5, labels=texts)
  share_steps(rows, arms)
  limits = _limits(record, arms, record.evaluated)
  for arm, axes in zip(arms, rows):
    axes.set_ylim(*limits)
    labels = []
    for source in record.evaluated:
      _loss_line(axes, arm, source, colours[source])
      last = arm.final[source]
      if last is not None:
        text = f'{source} {last:.3f}'
        labels.append((last, text, colours[source]['color']))
    label_ends(axes, labels)
    axes.set_title(arm.name, pad=19)
    phase_strip(record, arm, axes)
    bad_steps(arm, axes)
  return figure


def losses_by_source(record: RunRecord, arms: Sequence[Arm]) -> Figure | None:
  """One row for each source, arms laid over each other; None of one arm."""
  if len(arms) < 2:
    return None
  colours = arm_style([arm.name for arm in arms])
  height = max(1.35, LINE * len(arms))
  texts = [f'{arm.name} 0.000' for arm in arms]
  figure, rows = make_rows(len(record.evaluated), height, top=0.3, labels=texts)
  share_steps(rows, arms)
  shared = {
    phase.name
    for i, arm in enumerate(arms)
    for phase in (*arm.phases, *arm.ships)
    for other in arms[i + 1 :]
    if phase in (*other.phases, *other.ships)
  }
  for source, axes in zip(record.evaluated, rows):
    axes.set_title(source)
    axes.set_ylim(*_limits(record, arms, [source]))
    for arm in arms:
      _loss_line(axes, arm, source, colours[arm.name], shared)
    finals = [(arm.final[source], arm.name) for arm in arms]
    label_ends(
      axes,
      [
        (value, f'{name} {value:.3f}', colours[name]['color'])
        for value, name in finals
        if value is not None
      ],
    )
    for step in sorted({p.start_step for arm in arms for p in arm.phases[1:]}):
      axes.axvline(step, color=MUTED, linewidth=0.6, alpha=0.6)
  return figure


def gaps(record: RunRecord, arms: Sequence[Arm]) -> Figure | None:
  """After each switch, the change of each known source's loss; or None."""
  colours = arm_style([arm.name for arm in arms])
  panels: dict[tuple[int, str], dict[str, list[Arm]]] = {}
  peaks: dict[tuple[int, str], float] = {}
  for arm in arms:
    order = [phase.name for phase in arm.phases]
    for gap in arm.gaps:
      key = (order.index(gap.phase), gap.source)
      panels.setdefault(key, {}).setdefault(gap.phase, []).append(arm)
      peaks[key] = max(peaks.get(key, 0.0), gap.peak)
  if not panels:
    return None
  largest = sorted(panels, key=lambda key: -peaks[key])[:GAP_PANELS]
  shown = [key for key in panels if key in largest]
  shown.sort(key=lambda key: (key[0], record.sources.index(key[1])))
  down = math.ceil(len(shown) / 2)
  lines = max(len(panels[key]) for key in shown)
  row = max(1.5, LINE * lines) + 0.55
  figure = Figure(figsize=(WIDTH, row * down + 0.2))
  grid = figure.subplots(down, 2, squeeze=False, sharey=True)
  set_margins(figure, right=1.45, top=0.3)
  figure.subplots_adjust(wspace=0.55, hspace=0.55 / (row - 0.55))
  for axes in grid.flat[len(shown) :]:
    axes.remove()
  ends: list[tuple[Axes, list]] = []
  for key, axes in zip(shown, grid.flat):
    labels = []
    for name, owners in panels[key].items():
      phase, source = record.phases[name], key[1]
      before = baseline(record, phase, source)
      points = phase.curve(VALIDATION + source)
      near = [p for p in points if p[0] <= phase.start_step + phase.steps / 3]
      points = near if len(near) > 2 else points
      points = [(step - phase.start_step, v - before) for step, v in points]
      points = [(0, 0.0)] + [p for p in points if p[0] > 0]
      axes.plot(*columns(points), marker='.', ms=3, **colours[owners[0].name])
      text = ', '.join(arm.name for arm in owners[:2])
      text = shortened(text if len(owners) < 3 else name, 20)
      colour = colours[owners[0].name]['color']
      if len(arms) > 1:
        labels.append((points[-1][1], text, colour))
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xlim(0, None)
    reads = {record.phases[name].sources for name in panels[key]}
    to = ' + '.join(reads.pop()) if len(reads) == 1 else ''
    to = f'the switch to {to}' if 0 < len(to) < 25 else f'switch {key[0]}'
    axes.set_title(f'{key[1]} after {to}')
    axes.tick_params(labelleft=True)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ends.append((axes, labels))
  for axes, labels in ends:  # the common y limits are known by now
    label_ends(axes, labels)
  for axes, _ in ends[-2:]:
    axes.set_xlabel('steps since the switch')
  return figure


def _loss_line(axes, arm, source, style, shared=frozenset()) -> None:
  """An arm's loss on a source, and a dot for each model shipped."""
  for phase, points in pieces(arm, VALIDATION + source):
    common = {'color': MUTED} if phase.name in shared else {}
    axes.plot(*columns(points), **{**style, **common})
  thin = {**style, 'linewidth': 0.8, 'linestyle': '-'}
  for branch in branches(arm):
    common = {'color': MUTED} if branch.name in shared else {}
    points = branch.curve(VALIDATION + source)
    axes.plot(*columns(points), **{**thin, **common})
  for ship in arm.ships:
    value = ship.final(source)
    if value is not None:
      colour = MUTED if ship.name in shared else style['color']
      axes.plot([ship.end_step], [value], 'o', color=colour, ms=3.5)


def _limits(record, arms, sources) -> tuple[float, float]:
  """Loss limits that leave out how a fresh model's loss falls at first."""
  shipped = [row[s] for arm in arms for row in arm.losses for s in sources]
  values = [value for value in shipped if value is not None]
  for phase in record.phases.values():
    first = phase.start_step
    if not phase.parent and not phase.origin:
      first += 0.4 * phase.steps
    for source in sources:
      curve = phase.curve(VALIDATION + source)
      values += [value for step, value in curve if step >= first]
  low, high = min(values, default=0.0), max(values, default=1.0)
  room = 0.06 * (high - low) or 0.1
  return low - room, high + room
