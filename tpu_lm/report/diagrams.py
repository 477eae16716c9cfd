"""The matrices of losses and the tree of phases."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from tpu_lm.report.measures import Arm, shipping_branches
from tpu_lm.report.record import REPLAY, Phase, RunRecord
from tpu_lm.report.style import GRID, INK, MUTED, PAPER, WIDTH, source_style
from tpu_lm.report.words import rate

# From pale to deep: readable in print, by eye alone, and on a dark page.
_HEAT = LinearSegmentedColormap.from_list(
  'heat', ['#eaf3f1', '#a9d3cf', '#5ba3b3', '#31688e', '#2a3d6e']
)
_PALE_TEXT, _DARK_TEXT = '#fdfdfd', '#10151f'
_LETTER = 0.062  # inches, the width to expect of a letter


def matrices(record: RunRecord, arms: Sequence[Arm]) -> Figure | None:
  """P of every arm: models down, sources across; None of one model."""
  if sum(len(arm.rows) for arm in arms) < 2:
    return None
  best = {
    source: min(values, default=math.nan)
    for source in record.evaluated
    for values in [
      [row[source] for a in arms for row in a.losses if row[source] is not None]
    ]
  }
  rises = [
    value - best[source]
    for arm in arms
    for row in arm.losses
    for source, value in row.items()
    if value is not None
  ]
  scale = Normalize(0, max(rises, default=0.0) or 1.0)
  cell = 0.27
  rows = max(len(arm.rows) for arm in arms)
  names = max(len(name) for arm in arms for name in arm.rows)
  left = _LETTER * names + 0.15
  wide = left + 0.62 * len(record.evaluated) > WIDTH / 2
  across = 1 if wide or len(arms) == 1 else 2
  down = math.ceil(len(arms) / across)
  slanted = max(len(source) for source in record.evaluated) > 9
  head = 0.95 if slanted or len(record.evaluated) > 6 else 0.5
  panel = head + cell * rows + 0.12
  figure = Figure(figsize=(WIDTH, panel * down))
  width = min(WIDTH / across - left - 0.2, 0.9 * len(record.evaluated))
  for i, arm in enumerate(arms):
    x = (i % across) * WIDTH / across + left
    y = panel * (down - i // across) - head - cell * len(arm.rows)
    box = (x, y, width, cell * len(arm.rows))
    size = (WIDTH, panel * down) * 2
    axes = figure.add_axes([part / of for part, of in zip(box, size)])
    _heat(axes, record, arm, best, scale, head)
    title = (x - left + 0.05) / WIDTH, (y + box[3] + head - 0.17) / size[1]
    figure.text(*title, arm.name, fontsize=8.5, fontweight='bold')
  return figure


def _heat(axes: Axes, record, arm, best, scale, head) -> None:
  """One matrix; frames mark the stage that brought a source."""
  count = len(record.evaluated)
  small = 6.0 if count > 12 else 7.5
  for y, row in enumerate(arm.losses):
    for x, source in enumerate(record.evaluated):
      value = row[source]
      shade = GRID if value is None else _HEAT(scale(value - best[source]))
      axes.add_patch(Rectangle((x, y), 1, 1, facecolor=shade, lw=1.2, ec=PAPER))
      if value is None:
        axes.text(x + 0.5, y + 0.5, '–', ha='center', va='center', color=MUTED)
        continue
      axes.text(
        x + 0.5,
        y + 0.52,
        f'{value:.3f}' if count <= 12 else f'{value:.2f}',
        ha='center',
        va='center',
        fontsize=small,
        color=_on(scale(value - best[source])),
      )
  for source, y in arm.own.items():
    x = record.evaluated.index(source)
    frame = Rectangle((x + 0.04, y + 0.07), 0.92, 0.86)
    value = arm.losses[y][source]
    colour = INK if value is None else _on(scale(value - best[source]))
    frame.set(fill=False, edgecolor=colour, linewidth=1.3)
    axes.add_patch(frame)
  axes.set(xlim=(0, count), ylim=(len(arm.losses), 0))
  axes.grid(False)
  axes.spines[:].set_visible(False)
  axes.set_yticks(np.arange(len(arm.rows)) + 0.5, arm.rows, color=INK)
  axes.xaxis.tick_top()
  axes.set_xticks(np.arange(count) + 0.5, record.evaluated)
  if head > 0.6:
    for text in axes.get_xticklabels():
      text.set(rotation=35, ha='left', rotation_mode='anchor')
  colours = source_style(record.sources)
  for source, text in zip(record.evaluated, axes.get_xticklabels()):
    text.set_color(colours[source]['color'])


def _on(shade: float) -> str:
  """The colour that reads on a cell of this shade, 0 to 1."""
  return _DARK_TEXT if shade < 0.42 else _PALE_TEXT


def tree(record: RunRecord) -> Figure:
  """The phases over lineage steps; a bar shows what each phase read."""
  first = min(phase.start_step for phase in record.phases.values())
  last = max(phase.end_step for phase in record.phases.values())
  last = max(last, first + 1)
  per_inch = max(
    max(
      (phase.start_step - first) / max(WIDTH - 0.5 - _width(phase), 1),
      (phase.end_step - first) / (WIDTH - 0.6),
      1 / WIDTH,
    )
    for phase in record.phases.values()
  )
  lanes = _lanes(record, per_inch)
  pitch = 0.62
  height = pitch * (max(lanes.values()) + 1) + 0.65
  figure = Figure(figsize=(WIDTH, height))
  box = (0.25 / WIDTH, 0.45 / height, 1 - 0.3 / WIDTH, 1 - 0.55 / height)
  axes = figure.add_axes(box)
  axes.set_xlim(first - 0.06 * per_inch, first + (WIDTH - 0.4) * per_inch)
  axes.set_ylim(max(lanes.values()) + 0.4, -0.62)
  axes.set_yticks([])
  axes.set_xlabel('steps along the lineage', loc='left')
  axes.set_xticks([tick for tick in axes.get_xticks() if first <= tick <= last])
  axes.grid(axis='y', visible=False)
  for phase in record.phases.values():
    if phase.parent and lanes[phase.parent] != lanes[phase.name]:
      _connect(axes, phase, lanes[phase.parent], lanes[phase.name], per_inch)
  colours = source_style(record.sources)
  for phase in record.phases.values():
    _bar(axes, phase, lanes[phase.name], colours, per_inch)
  _legend(figure, record, colours, height)
  return figure


def _width(phase: Phase) -> float:
  """Inches that the two lines of a phase's text take."""
  letters = max(1.1 * len(phase.name), 0.85 * len(_detail(phase)))
  return _LETTER * letters + 0.1


def _detail(phase: Phase) -> str:
  parts = [f'{phase.steps:,} steps', phase.kind]
  if phase.learning_rate is not None:
    parts.append(f'at {rate(phase.learning_rate)}')
  if not phase.done:
    parts.append('not finished')
  return ', '.join(parts)


def _lanes(record: RunRecord, per_inch: float) -> dict[str, int]:
  """A lane for each phase, so that neither bars nor texts meet.

  The first child that goes on where its parent ended asks for its parent's
  lane, shipping and other branches for the one below; each gets the first
  free lane from there on.
  """
  taken: list[list[tuple[float, float]]] = []
  lanes: dict[str, int] = {}

  def place(phase: Phase, lane: int) -> None:
    start = phase.start_step
    end = max(phase.end_step, start + _width(phase) * per_inch)
    while lane < len(taken) and any(
      start < b and a < end for a, b in taken[lane]
    ):
      lane += 1
    taken.extend([] for _ in range(lane + 1 - len(taken)))
    taken[lane].append((start, end))
    lanes[phase.name] = lane
    ships = shipping_branches(record, phase)
    others = [c for c in record.children(phase) if c not in ships]
    for child in others[:1]:
      place(child, lane + (child.start_step < phase.end_step))
    for child in (*ships, *others[1:]):
      place(child, lane + 1)

  for phase in record.phases.values():
    if phase.parent is None:
      place(phase, len(taken))
  return lanes


def _connect(axes: Axes, phase: Phase, above: int, lane: int, per_inch) -> None:
  """A curve from the parent's lane down to the start of the phase."""
  x, reach = phase.start_step, 0.12 * per_inch
  corner = lane - 0.3 if lane > above else lane + 0.3
  points = [(x, above), (x, corner), (x, lane), (x + reach, lane)]
  codes = [Path.MOVETO, Path.LINETO, Path.CURVE3, Path.CURVE3]
  patch = PathPatch(Path(points, codes), fill=False, edgecolor=MUTED, lw=1)
  patch.set_zorder(1)
  axes.add_patch(patch)


def _bar(axes: Axes, phase: Phase, lane: int, colours, per_inch) -> None:
  """A phase: bars of what it read, its end's mark, two lines of text."""
  moved = phase.parent and 0.12 * per_inch < 0.5 * phase.steps
  start = phase.start_step + (0.06 * per_inch if moved else 0)
  high = 0.22
  total = sum(phase.read.values())
  top = lane - high / 2
  shares = {s: n / total for s, n in phase.read.items()} if total else {}
  for source, share in shares.items() or {'': 1.0}.items():
    axes.add_patch(
      Rectangle(
        (start, top),
        phase.end_step - start,
        high * share,
        facecolor=colours.get(source.removeprefix(REPLAY), {'color': GRID})[
          'color'
        ],
        alpha=0.45 if source.startswith(REPLAY) else 1.0,
        linewidth=0,
        zorder=2,
      )
    )
    top += high * share
  if phase.done:
    face = INK if phase.kind == 'trunk' else PAPER
    mark = {'marker': 'o', 'ms': 5, 'mfc': face, 'mec': INK, 'mew': 1.1}
    axes.plot([phase.end_step], [lane], zorder=3, **mark)
  x = start + 0.02 * per_inch
  axes.text(x, lane - 0.36, phase.name, fontsize=7.5, fontweight='bold')
  axes.text(x, lane - 0.17, _detail(phase), fontsize=6.5, color=MUTED)
  if phase.origin:
    axes.text(x, lane + 0.28, f'from {phase.origin}', fontsize=6.5, color=MUTED)


def _legend(figure: Figure, record: RunRecord, colours, height) -> None:
  """The sources' colours and the two marks, right of the axis' name."""
  x, y = 2.1 / WIDTH, 0.09 / height
  read = {name for p in record.phases.values() for name in p.read}
  used = [s for s in record.sources if {s, REPLAY + s} & read]
  fits = 0
  for source in used:
    if x > (WIDTH - 2.8) / WIDTH:
      break
    fits += 1
    swatch = Rectangle((x, y), 0.11 / WIDTH, 0.1 / height, lw=0)
    swatch.set(facecolor=colours[source]['color'], transform=figure.transFigure)
    figure.add_artist(swatch)
    figure.text(x + 0.15 / WIDTH, y, source, fontsize=7, color=MUTED)
    x += (_LETTER * len(source) + 0.35) / WIDTH
  marks = ['● trunk', '○ annealed']
  if any(name.startswith(REPLAY) for name in read):
    marks.insert(0, 'pale: replayed')
  if len(used) > fits:
    marks.insert(0, f'and {len(used) - fits} more')
  figure.text(x, y, '\u2003'.join(marks), fontsize=7, color=MUTED)
