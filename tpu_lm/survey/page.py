"""A survey on the terminal, and as a page of HTML."""

import io
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from tpu_lm.checks import UserError
from tpu_lm.data.contamination import Contamination
from tpu_lm.data.corpus import Corpus
from tpu_lm.data.layout import Layout
from tpu_lm.data.opened import settled
from tpu_lm.data.rows import open_rows
from tpu_lm.data.special_tokens import NAMES
from tpu_lm.data.store import TokenStore
from tpu_lm.data.vocabularies.bytes import Bytes
from tpu_lm.phase import Run
from tpu_lm.stages import Stage
from tpu_lm.survey.facts import facts_of
from tpu_lm.survey.overlap import find_overlap, overlap_table
from tpu_lm.survey.reading import reading_table, readings_of
from tpu_lm.survey.rows import Row, legend
from tpu_lm.survey.sources import histograms, source_table
from tpu_lm.survey.spelling import Decode

WIDTH = 100  # characters of an HTML page
_BLACK, _WHITE = (20, 23, 29), (232, 234, 240)
_RED, _GREEN, _YELLOW = (236, 110, 110), (87, 189, 123), (240, 166, 64)
_BLUE, _MAGENTA, _CYAN = (74, 168, 224), (216, 105, 170), (72, 178, 214)
THEME = TerminalTheme(
  _BLACK,
  _WHITE,
  [_BLACK, _RED, _GREEN, _YELLOW, _BLUE, _MAGENTA, _CYAN, _WHITE],
  # Bright black is grey; the other two show where tokens meet.
  [
    (132, 140, 156),
    *(_RED, _GREEN, _YELLOW, _BLUE),
    (240, 170, 212),
    (160, 218, 240),
    _WHITE,
  ],
)


def survey(
  corpus: Corpus,
  names: Sequence[str],
  run: Run | None = None,
  stages: Sequence[Stage] = (),
  sequence_length: int = 256,
  rows: int = 2,
) -> Iterator[RenderableType]:
  """What there is to know of a mixture before it is trained on.

  Stores that are not there yet are built.

  Args:
    corpus: defines the sources.
    names: of sources, seqio mixtures expanded.
    run: whose phases read them; None leaves that out.
    stages: of the run, by `lay_out`.
    sequence_length: of the rows shown of a source that no phase reads.
    rows: how many rows to show of each source.

  Yields:
    Things that `rich` prints, from top to bottom, each when it is known.

  Raises:
    UserError: a source is unknown, or its data are bad.
  """
  stores = {name: corpus.open(name, 'train') for name in names}
  facts, troubles = [], []
  for name, store in stores.items():
    facts.append(facts_of(store))
    try:
      facts.append(facts_of(corpus.open(name, 'validation')))
    except UserError as error:
      troubles.append(Text(f'{name} has no validation split: {error}', 'red'))
  yield _part('Sources', Group(source_table(facts), *troubles))
  train = [one for one in facts if one.split == 'train']
  yield _heading('Tokens a document')
  yield histograms(train)
  if run:
    table = reading_table(*readings_of(run, stages))
    yield _part(f'What the phases of {run.name} read', table)
  if not rows:
    return
  yield _part('Rows', legend())
  for name, store in stores.items():
    layout, seed, noiser = Layout(sequence_length), 0, None
    for phase in reversed(run.phases if run else ()):
      if name in _tasks(corpus, phase.mixture.sources):
        layout, seed = Layout.of(phase, run.model), run.seed
        layout = settled(corpus, phase.mixture, layout)
        noiser = phase.mixture.noise_of(name, store.manifest.whole)
    try:
      special = corpus.special_tokens
      reader = open_rows(store, layout, seed, name, noiser, special)
    except UserError as error:
      yield Text(str(error), 'red')
      continue
    batch = reader.read(np.arange(min(rows, reader.rows_per_epoch)))
    decode, end = _decoder(corpus, store)
    special = _special(corpus, store)
    for place in range(len(batch['inputs'])):
      row = {key: value[place] for key, value in batch.items()}
      title = f'{name}, row {place}'
      shown = Row(title, row, decode, end, special, layout.kind)
      yield Padding(shown, (0, 0, 1, 0))


def overlap(
  corpus: Corpus, names: Sequence[str], contamination: Contamination
) -> Iterator[RenderableType]:
  """How much of evaluation sets the training data hold; see `find_overlap`."""
  found, documents = {}, {}
  for name in names:
    found[name] = find_overlap(corpus, name, contamination)
    documents[name] = corpus.open(name, 'train').num_documents
  yield _part('Contamination', overlap_table(found, documents))


def show(
  parts: Iterable[RenderableType], output: pathlib.Path | None = None
) -> None:
  """Prints parts to standard output, and writes them to an HTML page.

  Args:
    parts: of `survey` and `overlap`.
    output: the page's path; None for none.

  Raises:
    UserError: the page's folder does not exist, or the page is a folder.
  """
  if output and output.is_dir():
    raise UserError(f'--output={output}: is a folder, not a page')
  if output and not output.parent.is_dir():
    raise UserError(f'--output={output}: there is no folder {output.parent}')
  terminal = Console()
  page = Console(
    record=True,
    file=io.StringIO(),
    width=WIDTH,
    force_terminal=True,
    color_system='truecolor',
  )
  for part in parts:
    terminal.print(part)
    page.print(part)
  if output:
    output.write_text(page.export_html(theme=THEME), encoding='utf-8')


def _heading(title: str) -> RenderableType:
  return Rule(Text(title, 'bold'), align='left', style='dim')


def _part(title: str, content: RenderableType) -> RenderableType:
  return Group(_heading(title), Padding(content, (0, 0, 1, 0)))


def _special(corpus: Corpus, store: TokenStore) -> dict[int, str]:
  """What the special tokens of a store are called, by number."""
  try:
    special = corpus.special_tokens(store)
  except UserError:
    return {}  # what ends its documents is not known
  names = {special.id(name): name for name in NAMES}
  sentinels = {special.sentinel(i): str(i) for i in range(special.sentinels)}
  return names | sentinels


def _tasks(corpus: Corpus, names: Iterable[str]) -> set[str]:
  return {task for name in names for task in corpus.expand(name)}


def _decoder(corpus: Corpus, store: TokenStore) -> tuple[Decode | None, int]:
  """How to decode a store's tokens, and the token that ends a document.

  Nothing decodes a store that was carried here without what it was made of;
  -1 where documents have no end token.
  """
  last, manifest = store.document(0)[-1:], store.manifest
  try:
    decode = corpus.recipe(manifest.task, manifest.split).decode
    if manifest.vocabulary.get('hash') == Bytes().describe()['hash']:
      decode = Bytes().decode  # a task's own would import TensorFlow
    ends = decode(last) == ''
  except UserError:
    return None, -1
  return decode, int(last[0]) if ends else -1
