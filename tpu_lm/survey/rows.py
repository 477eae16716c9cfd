"""Packed rows as a person reads them: documents, loss, padding."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from tpu_lm.data.layout import (
  DECODER,
  ENCODER,
  ENCODER_DECODER,
)
from tpu_lm.report.words import several
from tpu_lm.survey.spelling import END, Decode, spell

START = '▌'
NO_LOSS = '⟦', '⟧'  # around what carries no loss, where there is no colour
CHARACTERS = 1200  # of a row; the rest is counted
Spelled = list[tuple[str, bool]]  # a document's tokens, and whether with loss

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


def as_they_stand(
  tokens: np.ndarray, segments: np.ndarray, weights: np.ndarray | None = None
) -> list[Token]:
  """One side of a row whose targets are not its inputs moved by one.

  Args:
    tokens: [S], what is read or what is written.
    segments: [S].
    weights: [S], the loss of each of them; None: they have none.
  """
  losses = np.zeros(len(tokens)) if weights is None else weights
  columns = tokens.tolist(), segments.tolist(), (losses > 0).tolist()
  return [Token(*one) for one in zip(*columns, strict=True) if one[1]]


@dataclasses.dataclass(frozen=True)
class Row:
  """A row to be printed.

  In a terminal, documents are told by colour and what carries no loss is grey;
  elsewhere that stands in brackets.

  Attributes:
    title: what it is a row of.
    row: by `shapes.BATCH_KEYS`, [S] each.
    decode: see `spell`.
    end: see `spell`.
    special: see `spell`.
    kind: of model that reads it, see `layout.KINDS`.
  """

  title: str
  row: Mapping[str, np.ndarray]
  decode: Decode | None
  end: int
  special: Mapping[int, str] | None = None
  kind: str = DECODER

  def __rich_console__(
    self, console: Console, options: ConsoleOptions
  ) -> Iterator[RenderableType]:
    """Prints a line of numbers and then the text, of each side."""
    for side, tokens, segments in self._sides():
      padding = int((segments == 0).sum())
      documents = np.unique(segments[segments > 0]).size
      losses = sum(token.loss for token in tokens)
      yield Text(f'{self.title}{side}', 'bold').append(
        f'  {len(segments):,} positions: {several(documents, "document")},'
        f' {losses / len(segments):.0%} with loss,'
        f' {padding / len(segments):.0%} padding',
        'not bold dim',
      )
      spelled = self._documents(tokens)
      colours = console.color_system
      text = _coloured(spelled) if colours else _bracketed(spelled)
      if len(text) > CHARACTERS:
        more = len(text) - CHARACTERS
        text = text[:CHARACTERS].append(f' … {more:,} characters more', 'dim')
      elif padding:
        text.append(f' {several(padding, "position")} of padding', 'dim')
      yield text

  def _sides(self) -> Iterator[tuple[str, list[Token], np.ndarray]]:
    """What each side is called, its tokens and its segments."""
    row, segments = self.row, self.row['segments']
    if self.kind == ENCODER_DECODER:
      read = row['encoder_segments']
      tokens = as_they_stand(row['encoder_inputs'], read)
      yield ', read', tokens, read
      tokens = as_they_stand(row['targets'], segments, row['weights'])
      yield ', written', tokens, segments
    elif self.kind == ENCODER:
      tokens = as_they_stand(row['inputs'], segments, row['weights'])
      yield '', tokens, segments
    else:
      yield '', tokens_of(row), segments

  def _documents(self, tokens: list[Token]) -> Iterator[Spelled]:
    """Each document's tokens: spelled, and whether they carry loss."""
    for _, group in itertools.groupby(tokens, lambda token: token.document):
      document = list(group)
      numbers = [token.number for token in document]
      spelled = spell(self.decode, numbers, self.end, self.special)
      yield [(one, t.loss) for one, t in zip(spelled, document, strict=True)]


def _coloured(documents: Iterable[Spelled]) -> Text:
  text = Text()
  for number, document in enumerate(documents):
    shades = _HUES[number % 2]
    text.append(START, shades[0])
    for place, (spelled, loss) in enumerate(document):
      colour = shades[place % 2] if loss else _QUIET
      text.append(spelled, colour)
  return text


def _bracketed(documents: Iterable[Spelled]) -> Text:
  text = Text()
  for document in documents:
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
