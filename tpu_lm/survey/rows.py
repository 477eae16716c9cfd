"""Packed rows as a person reads them: documents, loss, padding."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping

import numpy as np
from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from tpu_lm.report.words import several
from tpu_lm.survey.spelling import END, Decode, spell

START = '▌'
NO_LOSS = '⟦', '⟧'  # around what carries no loss, where there is no colour
CHARACTERS = 1200  # of a row; the rest is counted

# Each document in a colour of its own, its tokens in two shades of it. These
# are names, so that they are readable on a light and on a dark terminal.
_HUES = ('cyan', 'bright_cyan'), ('magenta', 'bright_magenta')
_QUIET = 'bright_black'


@dataclasses.dataclass(frozen=True)
class Token:
  """One token of a row.

  Attributes:
    number: its id.
    document: the segment that it is in, from 1.
    loss: whether it is predicted with loss.
  """

  number: int
  document: int
  loss: bool


def tokens_of(row: Mapping[str, np.ndarray]) -> list[Token]:
  """Puts a row's inputs and targets together again.

  Args:
    row: inputs, targets, weights and segments [S] of one row.

  Returns:
    For each document its first input, which nothing predicts, and then its
    targets. The last target of a document belongs to it if it carries loss:
    else it is the first token of the next one.
  """
  inputs, targets, weights, segments = (
    row[key].tolist() for key in ('inputs', 'targets', 'weights', 'segments')
  )
  tokens = []
  for place, document in enumerate(segments):
    if not document:
      continue
    first = place == 0 or segments[place - 1] != document
    # Examples that are not kept apart share a segment; theirs shows here.
    if first or inputs[place] != targets[place - 1]:
      tokens.append(Token(inputs[place], document, False))
    last = place + 1 == len(segments) or segments[place + 1] != document
    if weights[place] or not last:
      tokens.append(Token(targets[place], document, weights[place] > 0))
  return tokens


@dataclasses.dataclass(frozen=True)
class Row:
  """A row to be printed.

  In a terminal, documents are told by colour and what carries no loss is grey;
  elsewhere that stands in brackets.

  Attributes:
    title: what it is a row of.
    row: inputs, targets, weights and segments [S].
    decode: see `spell`.
    end: see `spell`.
  """

  title: str
  row: Mapping[str, np.ndarray]
  decode: Decode | None
  end: int

  def __rich_console__(
    self, console: Console, options: ConsoleOptions
  ) -> Iterator[RenderableType]:
    """Prints a line of numbers and then the text."""
    segments, weights = self.row['segments'], self.row['weights']
    padding = int((segments == 0).sum())
    documents = np.unique(segments[segments > 0]).size
    losses = int((weights > 0).sum())
    yield Text(self.title, 'bold').append(
      f'  {len(segments):,} positions: {several(documents, "document")},'
      f' {losses / len(segments):.0%} with loss,'
      f' {padding / len(segments):.0%} padding',
      'not bold dim',
    )
    text = self._coloured() if console.color_system else self._bracketed()
    if len(text) > CHARACTERS:
      more = len(text) - CHARACTERS
      text = text[:CHARACTERS].append(f' … {more:,} characters more', 'dim')
    elif padding:
      text.append(f' {several(padding, "position")} of padding', 'dim')
    yield text

  def _documents(self) -> Iterator[list[tuple[str, bool]]]:
    """Each document's tokens: spelled, and whether they carry loss."""
    tokens = tokens_of(self.row)
    for _, group in itertools.groupby(tokens, lambda token: token.document):
      document = list(group)
      numbers = [token.number for token in document]
      spelled = spell(self.decode, numbers, self.end)
      yield [(one, t.loss) for one, t in zip(spelled, document, strict=True)]

  def _coloured(self) -> Text:
    text = Text()
    for number, document in enumerate(self._documents()):
      shades = _HUES[number % 2]
      text.append(START, shades[0])
      for place, (spelled, loss) in enumerate(document):
        colour = shades[place % 2] if loss else _QUIET
        text.append(spelled, colour)
    return text

  def _bracketed(self) -> Text:
    text = Text()
    for document in self._documents():
      text.append(START)
      for loss, run in itertools.groupby(document, lambda token: token[1]):
        joined = ''.join(spelled for spelled, _ in run)
        text.append(joined if loss else f'{NO_LOSS[0]}{joined}{NO_LOSS[1]}')
    return text


def legend() -> RenderableType:
  """What the signs and colours of a `Row` mean."""
  return _Legend()


class _Legend:
  """Two lines at most."""

  def __rich_console__(
    self, console: Console, options: ConsoleOptions
  ) -> Iterator[RenderableType]:
    text = Text(
      f'{START} a document or the rest of one, {END} its end, ↵ a new line, '
    )
    if console.color_system:
      text.append('token', _HUES[0][0]).append('by', _HUES[0][1])
      text.append('token', _HUES[0][0]).append(', the ')
      text.append('next', _HUES[1][0]).append('one', _HUES[1][1])
      text.append(', and ').append('read without loss', _QUIET)
    else:
      text.append(f'{NO_LOSS[0]}read without loss{NO_LOSS[1]}')
    yield text
