"""How pictures look: colours, type, labels, and SVG that follows the page.

Every colour is drawn in its light form and replaced, in the SVG text, by a
CSS variable with that form as fallback: the same picture reads on a light
and on a dark page, and alone in a viewer. Hues are from Okabe and Ito
(sources) and Tol's muted scheme (arms), both safe for colour-blind readers;
dark forms are the same hues, lightened.
"""

import contextlib
import io
import re
from collections.abc import Iterator, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 9.0  # inches; shown at 900 px, so that 7 points are about 10 px
INK, MUTED, GRID, PAPER = '#1c2330', '#667085', '#e3e6eb', '#fefefe'
_DARK_TONES = {
  INK: '#e8eaf0',
  MUTED: '#98a1b3',
  GRID: '#2b313d',
  PAPER: '#14171d',
}
_SOURCES = {
  '#0072b2': '#4aa8e0',
  '#d55e00': '#f08a3c',
  '#009e73': '#34c79a',
  '#b5568f': '#dc8fbf',
  '#b98900': '#e9b93a',
  '#3a9fd0': '#7cc7ee',
  '#7a5c3e': '#c3a27e',
  '#5b5f66': '#a9aeb8',
}
_ARMS = {
  '#332288': '#9b8cf0',
  '#cc6677': '#ee8f9e',
  '#2f8f80': '#5fcdbb',
  '#882255': '#d9699f',
  '#a08b20': '#ddcc77',
  '#117733': '#57bd7b',
  '#4477aa': '#88b8e8',
  '#8a5a9c': '#c79ad8',
}
_DASHES = ('-', (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.2, 1.2, 1.2)))
_NAMES = {
  INK: 'ink',
  MUTED: 'muted',
  GRID: 'grid',
  PAPER: 'paper',
  **{colour: f'source-{i}' for i, colour in enumerate(_SOURCES)},
  **{colour: f'arm-{i}' for i, colour in enumerate(_ARMS)},
}
_FONT = "system-ui, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
_STYLE = {
  'axes.axisbelow': True,
  'axes.edgecolor': GRID,
  'axes.facecolor': 'none',
  'axes.grid': True,
  'axes.labelcolor': MUTED,
  'axes.labelsize': 7.5,
  'axes.spines.left': False,
  'axes.spines.right': False,
  'axes.spines.top': False,
  'axes.titlecolor': INK,
  'axes.titlelocation': 'left',
  'axes.titlesize': 8.5,
  'axes.titleweight': 'bold',
  'figure.facecolor': 'none',
  'font.family': 'DejaVu Sans',
  'font.size': 7.5,
  'grid.color': GRID,
  'grid.linewidth': 0.6,
  'lines.linewidth': 1.5,
  'lines.solid_capstyle': 'round',
  'svg.fonttype': 'none',
  'text.color': INK,
  'text.parse_math': False,  # a name may hold a dollar sign
  'xtick.color': MUTED,
  'xtick.major.size': 0,
  'ytick.color': MUTED,
  'ytick.major.size': 0,
}


def css() -> str:
  """The colours as CSS variables, for light and for dark pages."""
  pairs = {**_DARK_TONES, **_SOURCES, **_ARMS}
  light = ''.join(f'--{_NAMES[c]}:{c};' for c in pairs)
  dark = ''.join(f'--{_NAMES[c]}:{d};' for c, d in pairs.items())
  return (
    f':root{{color-scheme:light dark;{light}}}\n'
    f'@media (prefers-color-scheme:dark){{:root{{{dark}}}}}'
  )


def source_style(sources: Sequence[str]) -> dict[str, dict]:
  """{source: colour and line style}, the same in every picture of a run."""
  return _cycle(sources, list(_SOURCES))


def arm_style(arms: Sequence[str]) -> dict[str, dict]:
  """{arm: colour and line style}, the same in every picture of a run."""
  return _cycle(arms, list(_ARMS))


def _cycle(names: Sequence[str], colours: list[str]) -> dict[str, dict]:
  return {
    name: {
      'color': colours[i % len(colours)],
      'linestyle': _DASHES[i // len(colours) % len(_DASHES)],
    }
    for i, name in enumerate(names)
  }


@contextlib.contextmanager
def drawing() -> Iterator[None]:
  """Matplotlib's settings for everything drawn and saved inside."""
  with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_STYLE}):
    yield


def to_svg(figure: Figure, name: str) -> str:
  """The figure as SVG text; the same figure gives the same text.

  Args:
    name: prefixed to every id, so that pictures can share a page.
  """
  buffer = io.StringIO()
  with matplotlib.rc_context({'svg.hashsalt': name}):
    figure.savefig(buffer, format='svg', metadata={'Date': None})
  svg = buffer.getvalue()
  svg = svg[svg.index('<svg') :]
  svg = re.sub(r'<metadata>.*?</metadata>|<!--.*?-->', '', svg, flags=re.S)
  svg = re.sub(r'(\bid="|url\(#|href="#)', rf'\g<1>{name}-', svg)
  svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r'\1', svg, count=1)
  svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r'\1', svg, count=1)
  svg = re.sub(r"'DejaVu Sans'(, [^;\"]*)?", _FONT, svg)
  svg = re.sub(r' (d|x|y)="[^"]*"', _round, svg)
  svg = re.sub(r'\n\s*\n+', '\n', svg)
  for colour, variable in _NAMES.items():
    svg = svg.replace(colour, f'var(--{variable}, {colour})')
  return svg


def _round(attribute: re.Match) -> str:
  """Hundredths of a point are finer than any screen."""
  return re.sub(r'(\.\d\d)\d+', r'\1', attribute[0])


def standalone(svg: str) -> str:
  """A picture for a file of its own: it carries the colours."""
  head, body = svg.split('>', 1)
  return f'{head}>\n<style>{css()}</style>{body}'


def spread(
  heights: Sequence[float], gap: float, low: float, high: float
) -> list[float]:
  """Moves label heights apart, as little as needed.

  Args:
    heights: where the labels want to be.
    gap: the least distance between two.
    low, high: bounds; given up on when there are too many labels.

  Returns:
    Heights in the given order, in the same order from low to high.
  """
  order = sorted(range(len(heights)), key=lambda i: heights[i])
  placed: list[list] = []  # [wanted heights, centre] of touching labels
  for i in order:
    placed.append([[heights[i]], heights[i]])
    while len(placed) > 1:
      upper, lower = placed[-1], placed[-2]
      need = gap * (len(upper[0]) + len(lower[0])) / 2
      if upper[1] - lower[1] >= need - 1e-12:
        break
      wanted = lower[0] + upper[0]
      placed[-2:] = [[wanted, sum(wanted) / len(wanted)]]
  positions = []
  for wanted, centre in placed:
    half = gap * (len(wanted) - 1) / 2
    positions += [centre - half + gap * k for k in range(len(wanted))]
  for k in range(len(positions)):  # down from the top, then up from below
    position = positions[-1 - k]
    bound = high - gap * k
    positions[-1 - k] = min(position, bound)
  for k, position in enumerate(positions):
    positions[k] = max(position, low + gap * k)
  result = [0.0] * len(order)
  for i, position in zip(order, positions):
    result[i] = position
  return result


def label_ends(
  axes: Axes,
  labels: Sequence[tuple[float, str, str]],
  x: float = 1.012,
  size: float = 7.5,
) -> None:
  """Writes labels right of the axes, each at its line's last value.

  Args:
    labels: (value, text, colour).
    x: in fractions of the axes' width.
    size: in points.
  """
  if not labels:
    return
  bottom, top = axes.get_ylim()
  height = axes.get_position().height * axes.figure.get_figheight() * 72
  wanted = [(value - bottom) / (top - bottom) for value, _, _ in labels]
  for y, (_, text, colour) in zip(
    spread(wanted, 1.25 * size / height, 0.0, 1.0), labels
  ):
    axes.text(
      x,
      y,
      text,
      color=colour,
      fontsize=size,
      va='center',
      transform=axes.transAxes,
    )
