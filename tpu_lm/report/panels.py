"""Columns of axes over lineage steps, and what stands above and below them."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tpu_lm.report.measures import Arm
from tpu_lm.report.record import Phase, RunRecord
from tpu_lm.report.style import GRID, INK, MUTED, WIDTH, source_style
from tpu_lm.report.words import shortened

LINE = 0.155  # inches a line of labels takes
LETTER = 0.06  # inches a letter of a phase's name takes
Points = list[tuple[int, float]]


def pieces(arm: Arm, metric: str) -> list[tuple[Phase, Points]]:
  """A metric along an arm: each phase up to where the next one leaves it."""
  ends = [phase.start_step for phase in arm.phases[1:]] + [math.inf]
  return [
    (phase, [(s, v) for s, v in phase.curve(metric) if s <= end])
    for phase, end in zip(arm.phases, ends)
  ]


def phase_strip(record: RunRecord, arm: Arm, axes: Axes) -> None:
  """Above the axes: each phase's name, if it fits, and what it reads."""
  colours = source_style(record.sources)
  place = axes.get_xaxis_transform()
  height = axes.get_position().height * axes.figure.get_figheight()
  above = 0.05 / height
  first, last = axes.get_xlim()
  inches = axes.get_position().width * WIDTH / (last - first)
  ends = [phase.start_step for phase in arm.phases[1:]]
  for phase, end in zip(arm.phases, [*ends, arm.phases[-1].end_step]):
    if phase is not arm.phases[0]:
      axes.axvline(phase.start_step, color=MUTED, linewidth=0.6, alpha=0.6)
    sources = phase.sources or ('',)
    width = (end - phase.start_step) / len(sources)
    for i, source in enumerate(sources):
      axes.broken_barh(
        [(phase.start_step + i * width, width)],
        (1 + above * 0.5, above),
        color=colours.get(source, {'color': GRID})['color'],
        transform=place,
        clip_on=False,
        linewidth=0,
      )
    letters = int(inches * (end - phase.start_step) / LETTER) - 1
    axes.text(
      phase.start_step,
      1 + 2.4 * above,
      shortened(phase.name, letters) if letters > 5 else '',
      transform=place,
      color=MUTED,
      fontsize=7,
    )


def bad_steps(arm: Arm, axes: Axes) -> None:
  """A cross at the foot of the axes for each step that was not kept."""
  ends = [phase.start_step for phase in arm.phases[1:]] + [math.inf]
  steps = [
    bad.step
    for phase, end in zip(arm.phases, ends)
    for bad in phase.bad_steps
    if bad.step <= end
  ]
  axes.plot(
    steps,
    [0.04] * len(steps),
    'x',
    color=INK,
    markersize=4,
    transform=axes.get_xaxis_transform(),
  )


def make_rows(
  count: int, height: float, top: float, labels: Sequence[str] = ()
):
  """A column of axes that share x.

  Args:
    count: of rows.
    height: of each, in inches.
    top: what is left above each, in inches.
    labels: texts that will stand right of the axes.
  """
  total = (height + top + 0.1) * count + 0.35
  figure = Figure(figsize=(WIDTH, total))
  rows = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
  set_margins(figure, 0.2 + 0.068 * max(map(len, labels), default=0), top)
  figure.subplots_adjust(hspace=(top + 0.1) / height)
  return figure, rows


def set_margins(figure: Figure, right: float, top: float) -> None:
  """Margins in inches."""
  height = figure.get_figheight()
  figure.subplots_adjust(
    left=0.5 / WIDTH,
    right=1 - right / WIDTH,
    top=1 - top / height,
    bottom=0.4 / height,
  )


def share_steps(rows: Sequence[Axes], arms: Sequence[Arm]) -> None:
  """The steps that all rows cover, named under the last."""
  first = min(arm.phases[0].start_step for arm in arms)
  last = max(ship.end_step for a in arms for ship in (*a.phases, *a.ships))
  rows[-1].set_xlim(first, max(last, first + 1))
  rows[-1].set_xlabel('steps along the lineage')


def columns(points: Points) -> tuple[list[int], list[float]]:
  """Steps and values apart, as matplotlib takes them."""
  return [x for x, _ in points], [y for _, y in points]
