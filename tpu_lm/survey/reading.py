"""What the phases of a run will read of each source."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tpu_lm.checks import UserError
from tpu_lm.data.layout import ENCODER_DECODER, Layout
from tpu_lm.data.ledger import REPLAY, Ledger, split_key, tokens_of
from tpu_lm.data.noise.base import Noiser
from tpu_lm.data.opened import settled
from tpu_lm.data.row_reader import Rows
from tpu_lm.data.rows import open_rows
from tpu_lm.data.shares import source_of
from tpu_lm.data.store import TokenStore
from tpu_lm.phase import Phase, Run
from tpu_lm.plan import Reading as Plan
from tpu_lm.plan import foresee
from tpu_lm.report.words import count
from tpu_lm.stages import Stage

FILL_ROWS = 64  # are looked at for how full they are

# "up to 4 epochs of repeated data yields negligible changes to loss compared
# to having unique data", Muennighoff et al. 2023, arXiv 2305.16264.
MANY_EPOCHS = 4
MANY = (
  f'! read more than {MANY_EPOCHS} times by then: repeats teach less and less'
  ' (Muennighoff et al. 2023)'
)


@dataclasses.dataclass(frozen=True)
class Reading:
  """What a phase reads of one source.

  Attributes:
    name: of the source, 'replay:SOURCE' for what is read of it again.
    share: of the phase's rows.
    rows: how many.
    tokens: positions of these rows.
    epochs: how often this phase reads the source; may be less than 1.
    epochs_so_far: how often its lineage has at the phase's end, replays and
      rows of other lengths included.
    fill: share of its rows' positions that hold a token, the encoder's where
      there is one.
  """

  name: str
  share: float
  rows: int
  tokens: int
  epochs: float
  epochs_so_far: float
  fill: float


def readings_of(
  run: Run, stages: Sequence[Stage]
) -> tuple[dict[str, list[Reading]], str]:
  """What each phase will read, and what is in its way.

  Args:
    run: the run.
    stages: of `lay_out`. What was trained already is counted as it was.

  Returns:
    Name of a phase to its readings, replays last; and why the phases that are
    left out can't be trained, '' where none is.
  """
  trouble = ''
  for number in range(len(stages), 0, -1):  # parents come first
    try:
      foreseen = foresee(run, stages[:number])
    except UserError as error:
      trouble = str(error)
      continue
    sources = _Sources(run)
    readings = {
      stage.phase.name: sources.readings(
        stage.phase, foreseen[stage.phase.name]
      )
      for stage in stages[:number]
    }
    return readings, trouble
  return {}, trouble


def reading_table(
  readings: Mapping[str, Sequence[Reading]], trouble: str
) -> RenderableType:
  """Phases and sources: shares, tokens and epochs.

  Args:
    readings: of `readings_of`, and so is trouble.
    trouble: is shown below.
  """
  table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
  table.add_column('phase', overflow='fold')
  table.add_column('source', overflow='fold')
  headings = 'share', 'rows', 'tokens', 'rows\nfilled', 'epochs', 'so far'
  for heading in headings:
    table.add_column(heading, justify='right', no_wrap=True)
  notes = []
  for phase, own in readings.items():
    for place, one in enumerate(own):
      worn = one.epochs_so_far > MANY_EPOCHS
      table.add_row(
        Text('' if place else phase, 'bold'),
        Text(one.name, 'dim' if one.name.startswith(REPLAY) else ''),
        f'{one.share:.1%}',
        count(one.rows),
        count(one.tokens),
        f'{one.fill:.1%}',
        _epochs(one.epochs),
        Text(
          f'{_epochs(one.epochs_so_far)} {"!" if worn else " "}',
          'bold yellow' if worn else '',
        ),
      )
      if worn:
        notes = [Text(MANY, 'yellow')]
    table.add_section()
  if trouble:
    notes.append(Text(trouble, 'bold red'))
  return Group(table, *notes)


def _epochs(value: float) -> str:
  return f'{value:.2f}' if value < 99.5 else f'{value:,.0f}'


class _Sources:
  """The sources of a run, each opened once for each kind of rows."""

  def __init__(self, run: Run):
    self._run = run
    self._opened: dict[tuple[str, Layout, Noiser | None], Rows] = {}

  def readings(self, phase: Phase, plan: Plan) -> list[Reading]:
    """What a phase reads of each source, replays last."""
    entry, end = plan.ledgers.entry, plan.end
    tokens = {
      name: number - entry.tokens.get(name, 0)
      for name, number in end.tokens.items()
      if number > entry.tokens.get(name, 0)
    }
    own = {source_of(name) for name in tokens}
    layout = Layout.of(phase, self._run.model)
    layout = settled(self._run.corpus, phase.mixture, layout)
    rows = {}
    for name in own:
      whole = self._store(name).manifest.whole
      noiser = phase.mixture.noise_of(name, whole)
      rows[name] = self._open(name, layout, noiser)
    return [
      self._reading(name, tokens[name], sum(tokens.values()), rows, end)
      for name in sorted(tokens, key=lambda n: (n.startswith(REPLAY), n))
    ]

  def _reading(
    self,
    name: str,
    tokens: int,
    of: int,
    opened: Mapping[str, Rows],
    end: Ledger,
  ) -> Reading:
    opened = opened[source_of(name)]
    rows = tokens // tokens_of(opened.label)
    return Reading(
      name=name,
      share=tokens / of,
      rows=rows,
      tokens=tokens,
      epochs=rows / opened.rows_per_epoch,
      epochs_so_far=self._epochs(source_of(name), end),
      fill=_fill(opened),
    )

  def _epochs(self, source: str, ledger: Ledger) -> float:
    """How often a source was read, replays and all lengths included."""
    epochs = 0.0
    for key, rows in ledger.rows.items():
      name, label = split_key(key)
      if source_of(name) == source:
        lengths = [int(length) for length in label.split('+')]
        layout = Layout(lengths[0])
        if len(lengths) > 1:
          layout = Layout(lengths[0], ENCODER_DECODER, lengths[1])
        epochs += rows / self._open(source, layout, None).rows_per_epoch
    return epochs

  def _store(self, source: str) -> TokenStore:
    return self._run.corpus.open(source, 'train')

  def _open(self, source: str, layout: Layout, noiser: Noiser | None) -> Rows:
    key = source, layout, noiser
    if key not in self._opened:
      special = self._run.corpus.special_tokens
      self._opened[key] = open_rows(
        self._store(source), layout, self._run.seed, source, noiser, special
      )
    return self._opened[key]


def _fill(rows: Rows) -> float:
  """Share of the rows' places that hold a token, worked out or looked at."""
  if hasattr(rows, 'fill'):
    return rows.fill
  batch = rows.read(np.arange(min(FILL_ROWS, rows.rows_per_epoch)))
  return float(np.mean(batch.get('encoder_segments', batch['segments']) > 0))
