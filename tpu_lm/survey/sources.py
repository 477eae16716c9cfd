"""Tables of the sources of a mixture, and of their documents' lengths."""

from collections.abc import Iterator, Sequence

import numpy as np
from rich.bar import Bar
from rich.box import SIMPLE_HEAD
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from tpu_lm.report.words import NOTHING, count, listed
from tpu_lm.survey.facts import Facts, length_bins

BAR_WIDTH = 10  # characters: two histograms stand side by side in 80


def source_table(every: Sequence[Facts]) -> RenderableType:
  """How much there is of each source, and how it is encoded and packed.

  Args:
    every: in the order to be shown, the splits of a source side by side.
  """
  table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
  table.add_column('source', overflow='fold', min_width=12)
  headings = 'docu-\nments', 'tokens', 'text', 'bytes/\ntoken'
  for heading in (*headings, 'tokens:\nmean', 'median', 'longest'):
    table.add_column(heading, justify='right', no_wrap=True)
  table.add_column('rows', no_wrap=True)
  shown = None
  for one in every:
    again, shown = one.name == shown, one.name
    ratio, lengths = one.bytes_per_token, one.lengths
    middle = lengths.mean(), np.median(lengths), lengths.max()
    table.add_row(
      Text(f'  {one.split}') if again else _name(one),
      count(one.documents),
      count(one.tokens),
      decimal(one.text_bytes) if one.text_bytes else NOTHING,
      f'{ratio:.2f}' if ratio else NOTHING,
      *(count(float(value)) for value in middle),
      'whole' if one.whole else 'cut',
      style='dim' if again else '',
    )
  return Group(table, *(Text(line) for line in _notes(every)))


def histograms(every: Sequence[Facts]) -> RenderableType:
  """Tokens a document of each source: how many have how many."""
  return Columns([_histogram(one) for one in every], padding=(0, 4))


def _name(one: Facts) -> Text:
  text = Text(one.name, 'bold')
  if one.split != 'train':
    text.append(f' {one.split}', 'not bold')
  return text


def _notes(every: Sequence[Facts]) -> Iterator[str]:
  users: dict[str, list[str]] = {}
  for one in every:
    users.setdefault(one.vocabulary, []).append(one.name)
  for vocabulary, names in users.items():
    of = f' of {listed(list(dict.fromkeys(names)))}' if len(users) > 1 else ''
    yield f'vocabulary{of}: {vocabulary}'
  for one in every:
    if one.left_out:
      told = [f'{number:,} {why}' for why, number in one.left_out.items()]
      yield f'left out of {one.name}/{one.split}: {listed(told)}'


def _histogram(one: Facts) -> RenderableType:
  bins, counts = length_bins(one.lengths)
  table = Table.grid(padding=(0, 1))
  for justify in ('right', 'left', 'right', 'right'):
    table.add_column(justify=justify, no_wrap=True)
  for first, number in zip(bins.tolist(), counts.tolist()):
    share = number / one.documents
    table.add_row(
      f'{first:,} +',
      Bar(counts.max(), 0, number, width=BAR_WIDTH, color='cyan'),
      f'{share:.1%}' if share >= 0.001 or not number else '<0.1%',
      Text(count(number), 'dim'),
    )
  return Group(_name(one), table, '')
