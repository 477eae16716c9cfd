"""How much of evaluation sets the stores of a corpus hold."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tpu_lm.data.contamination import (
  SHORTEST,
  Contamination,
  dirty_items,
  merge,
)
from tpu_lm.data.corpus import Corpus
from tpu_lm.data.progress import Progress
from tpu_lm.data.store import TokenStore
from tpu_lm.report.words import listed, several
from tpu_lm.survey.spelling import Decode

Result = Mapping[str, Mapping[str, Any]]

TOKENS = 2**20  # read and decoded at once


def find_overlap(
  corpus: Corpus, name: str, contamination: Contamination, split: str = 'train'
) -> Result:
  """Looks for evaluation sets in what a source's store holds.

  What was counted while the store was built is taken from its manifest.
  Otherwise the tokens are decoded; what the vocabulary does not tell apart
  (unknown characters, normalised text) is then searched for as it is there.

  Args:
    corpus: defines the source.
    name: of the source.
    contamination: the sets.
    split: of the source.

  Returns:
    As of `OverlapCounter.result`.

  Raises:
    UserError: the source or a set is not there, or no vocabulary is at hand
      to decode the store.
  """
  store = corpus.open(name, split)
  counter = contamination.counter()
  wanted = counter.result()
  recorded = store.manifest.contamination
  if all(_same(one, recorded.get(key, {})) for key, one in wanted.items()):
    return {key: recorded[key] for key in wanted}
  decode = corpus.recipe(name, split).decode
  title = f'{name}/{split}: searching'
  with Progress(title, {0: store.manifest.num_bytes}) as progress:
    for start, stop in _stretches(store.offsets):
      texts = _decoded(store, decode, start, stop)
      for text in texts:
        counter.add(text)
      tokens = int(store.offsets[stop] - store.offsets[start])
      progress.seen(stop - start, tokens, sum(map(len, texts)))
  return counter.result()


def overlap_table(
  found: Mapping[str, Result], documents: Mapping[str, int]
) -> RenderableType:
  """How many items of each set are in the sources that have any, and in all.

  Args:
    found: source to the result of `find_overlap`.
    documents: source to the number of its documents.
  """
  table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
  table.add_column('evaluation set', overflow='fold')
  table.add_column('source', overflow='fold')
  for heading in ('items', 'found', 'in documents'):
    table.add_column(heading, justify='right', no_wrap=True)
  everywhere = merge(found.values())
  together = f'all {len(found)} sources'
  documents = {**documents, together: sum(documents.values())}
  for name, total in everywhere.items():
    rows = {
      source: result[name]
      for source, result in found.items()
      if len(found) == 1 or dirty_items(result[name])
    }
    if len(found) > 1:
      rows[together] = total
    judged = total['items'] - total['short']
    for place, (source, one) in enumerate(rows.items()):
      dirty = len(dirty_items(one))
      table.add_row(
        Text('' if place else name, 'bold'),
        source,
        '' if place else f'{judged:,}',
        Text(_part(dirty, judged), 'bold yellow' if dirty else 'green'),
        _part(one['documents'], documents[source]),
      )
    table.add_section()
  n = {one['n'] for one in everywhere.values()}
  short = sum(one['short'] for one in everywhere.values())
  notes = [
    Text(
      f'An item is found where {listed(sorted(map(str, n)))} words in a row'
      f' of it are, or all of it where it has but {SHORTEST} or more.'
    )
  ]
  if short:
    notes.append(
      Text(f'Left out: {several(short, "item")} of less than {SHORTEST} words.')
    )
  return Group(table, *notes)


def _part(count: int, whole: int) -> str:
  """A number and its percentage, '12   0.9%'."""
  if not count:
    return 'none'
  share = count / whole
  shown = '<0.1%' if share < 0.001 else f'{share:.1%}'
  return f'{count:,}  {shown:>6}'


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
  return all(one[key] == other.get(key) for key in ('n', 'hash'))


def _stretches(offsets: np.ndarray) -> Iterator[tuple[int, int]]:
  """Runs of documents of about `TOKENS` tokens, at least one document each."""
  start, documents = 0, len(offsets) - 1
  while start < documents:
    limit = int(offsets[start]) + TOKENS
    stop = int(np.searchsorted(offsets, limit, side='right')) - 1
    stop = max(stop, start + 1)
    yield start, stop
    start = stop


def _decoded(
  store: TokenStore, decode: Decode, start: int, stop: int
) -> list[str]:
  """The texts of documents start to stop - 1."""
  offsets = store.offsets[start : stop + 1]
  tokens = store.tokens(int(offsets[0]), int(offsets[-1]))
  return [decode(part) for part in np.split(tokens, offsets[1:-1] - offsets[0])]
