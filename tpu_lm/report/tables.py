"""The report's tables as plain text cells, and the one for the terminal."""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from tpu_lm.report.measures import Arm, find_arms
from tpu_lm.report.record import REPLAY, Phase, RunRecord, read_run
from tpu_lm.report.words import (
  NOTHING,
  count,
  listed,
  loss,
  percent,
  rate,
  shortened,
  signed,
)

UNBROKEN = '\u00a0'  # a space at which no line ends
TERMINAL_SOURCES = 4  # columns of sources that fit in 100 characters


@dataclasses.dataclass(frozen=True)
class Table:
  """Cells of text.

  Attributes:
    columns: headings; those in `words` hold words, the others numbers.
    rows: a cell for each column.
    words: columns that are set to the left.
    best: (row, column) of the cells to stand out.
  """

  columns: tuple[str, ...]
  rows: tuple[tuple[str, ...], ...]
  words: frozenset[str]
  best: frozenset[tuple[int, int]] = frozenset()


def arm_table(arms: Sequence[Arm], sources: Sequence[str]) -> Table:
  """Each arm's last shipped model; the lowest of a column stands out."""
  columns = ('arm', *sources, 'average', 'forgetting', 'gap')
  numbers = [
    (
      *(arm.final[source] for source in sources),
      arm.average,
      None if arm.backward is None else -arm.backward,
      arm.largest_gap and arm.largest_gap.peak,
    )
    for arm in arms
  ]
  formats = [*[loss] * len(sources), loss, signed, signed]
  rows = tuple(
    (arm.name, *(show(value) for show, value in zip(formats, values)))
    for arm, values in zip(arms, numbers)
  )
  best = frozenset(
    (row, column + 1)
    for column, values in enumerate(zip(*numbers))
    for row in _lowest(values)
  )
  return Table(columns, rows, frozenset({'arm'}), best)


def _lowest(values: Sequence[float | None]) -> Iterable[int]:
  """Where the lowest value is, if there are several to compare."""
  known = [round(value, 3) for value in values if value is not None]
  if len(set(known)) < 2:
    return []
  return [
    i
    for i, value in enumerate(values)
    if value is not None and round(value, 3) == min(known)
  ]


def transfer_table(arms: Sequence[Arm]) -> Table:
  """Forgetting of each source, backward and forward transfer."""
  sources = list(dict.fromkeys(s for arm in arms for s in arm.forgetting))
  columns = ('arm', *(f'forgetting of {s}' for s in sources))
  rows = tuple(
    (
      arm.name,
      *(signed(arm.forgetting.get(source)) for source in sources),
      signed(arm.backward),
      signed(arm.forward),
    )
    for arm in arms
  )
  columns += ('backward transfer', 'forward transfer')
  return Table(columns, rows, frozenset({'arm'}))


def gap_table(arms: Sequence[Arm]) -> Table:
  """Every stability gap once, in the order of phases."""
  columns = (
    'phase',
    'source',
    'parent’s loss',
    'highest rise',
    'steps to it',
    'steps until back',
  )
  found = dict.fromkeys(gap for arm in arms for gap in arm.gaps)
  rows = tuple(
    (
      gap.phase,
      gap.source,
      loss(gap.baseline),
      signed(gap.peak),
      f'{gap.peak_after:,}',
      'not back' if gap.back_after is None else f'{gap.back_after:,}',
    )
    for gap in found
  )
  return Table(columns, rows, frozenset({'phase', 'source'}))


def bad_step_table(record: RunRecord) -> Table:
  """Every step from which nothing was kept."""
  columns = ('phase', 'step', 'what was bad', 'went on from', 'rows skipped')
  rows = tuple(
    (
      phase.name,
      f'{bad.step:,}',
      bad.why,
      f'step {bad.step if bad.back_to is None else bad.back_to:,}',
      f'{bad.rows:,}',
    )
    for phase in record.phases.values()
    for bad in phase.bad_steps
  )
  return Table(columns, rows, frozenset({'phase', 'what was bad'}))


def phase_table(record: RunRecord) -> Table:
  """What each phase was and did."""
  columns = (
    'phase',
    'parent',
    'kind',
    'steps',
    'tokens',
    'read',
    'learning rate',
    'tokens/s',
    'in steps',
    'of peak',
  )
  rows = tuple(_phase_row(phase) for phase in record.phases.values())
  if all(row[-1] == NOTHING for row in rows):  # no peak is known of a CPU
    columns, rows = columns[:-1], tuple(row[:-1] for row in rows)
  return Table(columns, rows, frozenset({'phase', 'parent', 'kind', 'read'}))


def _phase_row(phase: Phase) -> tuple[str, ...]:
  return (
    phase.name,
    phase.parent or phase.origin or NOTHING,
    phase.kind if phase.done else f'{phase.kind}, running',
    f'{phase.steps:,}',
    count(phase.tokens),
    shares(phase),
    course(phase),
    count(phase.tokens_per_second),
    percent(phase.goodput),
    percent(phase.utilisation),
  )


def course(phase: Phase) -> str:
  """Learning rates, first → highest → last, each named once."""
  rates = [value for _, value in phase.curve('learning_rate')]
  if phase.done and phase.learning_rate is not None:
    rates.append(phase.learning_rate)
  if not rates:
    return NOTHING
  texts = [rate(value) for value in (rates[0], max(rates), rates[-1])]
  return ' → '.join(text for text, _ in itertools.groupby(texts))


def shares(phase: Phase) -> str:
  """What a phase read by its ledger: 'python 75 %, prose again 25 %'."""
  total = sum(phase.read.values())
  if not total:
    return listed(phase.sources) or NOTHING
  if len(phase.read) == 1:
    return _reading(*phase.read)
  ordered = sorted(phase.read.items(), key=lambda item: -item[1])
  parts = [f'{_reading(s)} {n / total:.0%}' for s, n in ordered]
  return ', '.join(part.replace(' ', UNBROKEN) for part in parts)


def _reading(source: str) -> str:
  name = source.removeprefix(REPLAY)
  return name if name == source else f'{name} again'


def summary_table(run_dir: str | pathlib.Path) -> RichTable:
  """The arms of a run for the terminal, at most 100 characters wide.

  With more sources than fit, only their average is shown.

  Raises:
    UserError: there is no phase in the folder.
  """
  record = read_run(run_dir)
  sources = record.evaluated
  if len(sources) > TERMINAL_SOURCES:
    sources = ()
  table = arm_table(find_arms(record), sources)
  title = f'{record.name}: validation loss, nats a token'
  result = RichTable(
    title=Text(title), title_justify='left', box=SIMPLE_HEAD, pad_edge=False
  )
  for column in table.columns:
    left = column in table.words
    result.add_column(
      Text(shortened(column, 14)),
      justify='left' if left else 'right',
      max_width=32 if left else 14,
      no_wrap=True,
      overflow='ellipsis',
    )
  for i, row in enumerate(table.rows):
    result.add_row(
      *(
        Text(cell, style='bold' if (i, j) in table.best else '')
        for j, cell in enumerate(row)
      )
    )
  return result
