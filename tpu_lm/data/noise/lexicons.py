"""Lexicons: text files of phrases, and their phrases as tokens.

A lexicon has one phrase a line, and after a tab what belongs to it: a class,
or a translation. Empty lines and lines that begin with # are left out.
"""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tpu_lm.checks import UserError
from tpu_lm.data.noise import words
from tpu_lm.data.special_tokens import Special
from tpu_lm.data.vocabularies import model_file

_BEFORE = ('', ' ')  # what a phrase is tokenised after


class Form(NamedTuple):
  """One way in which a phrase is tokenised.

  Attributes:
    tokens: i32[tokens], as encoded.
    blanks: how many of them are white space before the phrase.
  """

  tokens: np.ndarray
  blanks: int

  @property
  def bare(self) -> np.ndarray:
    """The tokens without those of white space."""
    return self.tokens[self.blanks :]


def read(key: str, path: str) -> list[tuple[str, str]]:
  """Reads a lexicon.

  Args:
    key: the gin key of the path.
    path: a path or URL.

  Returns:
    Phrase and what belongs to it, line by line.

  Raises:
    UserError: the file can't be read, is no UTF-8, has a line without exactly
      two fields, or has none at all.
  """
  try:
    text = model_file.read(key, path).decode('utf-8-sig')
  except UnicodeDecodeError as error:
    raise UserError(f'{key} = {path!r}: is not UTF-8: {error}') from error
  entries = []
  for number, line in enumerate(text.split('\n'), 1):
    if not line.strip() or line.startswith('#'):
      continue
    fields = [field.strip() for field in line.split('\t')]
    if len(fields) != 2 or not all(fields):
      raise UserError(
        f'{key} = {path!r}: line {number} must be two fields with a tab'
        f' between them, not {line[:80]!r}'
      )
    entries.append((fields[0], fields[1]))
  if not entries:
    raise UserError(f'{key} = {path!r}: there is no phrase in it')
  return entries


def tokenised(
  texts: Sequence[str], special: Special
) -> list[tuple[Form, ...] | None]:
  """The tokens of phrases: of each by itself, and after a space.

  Args:
    texts: phrases.
    special: with the vocabulary at hand.

  Returns:
    For each phrase two forms; None if the vocabulary lacks tokens for part of
    it.

  Raises:
    UserError: there is no vocabulary at hand.
  """
  table = words.word_table(special)
  if special.encode is None:
    raise UserError(
      'noise: no vocabulary is at hand to tokenise a lexicon with. Set'
      ' Corpus.vocabulary'
    )
  encoded = [
    special.encode([before + text for text in texts]) for before in _BEFORE
  ]
  found = []
  for text, *forms in zip(texts, *encoded, strict=True):
    plain = _plain(text)
    if plain and all(_plain(special.decode(form)) == plain for form in forms):
      blank = [table[form] & words.BLANK != 0 for form in forms]
      skips = [int(np.argmin(one)) for one in blank]
      found.append(tuple(map(Form, forms, skips)))
    else:
      found.append(None)
  return found


def _plain(text: str) -> str:
  """A text without what vocabularies that normalise may change."""
  text = unicodedata.normalize('NFKD', text.casefold())
  return ''.join(
    character
    for character in text
    if not character.isspace() and not unicodedata.combining(character)
  )
