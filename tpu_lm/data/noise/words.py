"""Where words begin in rows of tokens, whatever the vocabulary.

A word is a run of letters, digits and marks. Each punctuation mark or space
that is a token is a unit of its own, and so is each piece of a script that is
written without spaces, as far as `word_hashes` knows them. Part of a character
(a byte above 127, say) counts as a letter: what it will be is not known.
"""

import numpy as np

from tpu_lm.checks import UserError
from tpu_lm.data import word_hashes
from tpu_lm.data.special_tokens import Special

# What a token may be to a word: several at once, or none of them.
GOES_ON = 1  # it continues a word, if the token before is open
OPEN = 2  # the token after it may continue its word
BLANK = 4  # white space and nothing else

_PART = '\ufffd'  # what part of a character is decoded to
_TEXTS: dict[tuple[str, int], tuple[str, ...]] = {}
_TABLES: dict[tuple[str, int], np.ndarray] = {}


def word_table(special: Special) -> np.ndarray:
  """What each token is to a word; worked out once for each vocabulary.

  Args:
    special: with the vocabulary at hand.

  Returns:
    i8[V], sums of `GOES_ON`, `OPEN` and `BLANK`. 0: a unit of its own.

  Raises:
    UserError: there is no vocabulary at hand.
  """
  key = _key(special)
  if key not in _TABLES:
    table = np.array([_flags(text) for text in token_texts(special)], np.int8)
    table.flags.writeable = False
    _TABLES[key] = table
  return _TABLES[key]


def word_starts(tokens: np.ndarray, table: np.ndarray) -> np.ndarray:
  """Where a word begins, or a unit that is none.

  Args:
    tokens: int[n, L], each an index of the table.
    table: i8[V], as of `word_table`.

  Returns:
    bool[n, L]; True at every row's first token.
  """
  flags = table[tokens]
  starts = np.ones(flags.shape, bool)
  starts[:, 1:] = flags[:, 1:] & (flags[:, :-1] >> 1) & GOES_ON == 0
  return starts


def word_places(
  tokens: np.ndarray, segments: np.ndarray, special: Special
) -> tuple[np.ndarray, np.ndarray]:
  """Where words are, and other units that are not white space.

  Args:
    tokens: int[n, S].
    segments: int[n, S], the document of each token; no word crosses two.
    special: with the vocabulary at hand.

  Returns:
    The first token of each and the one after its last, i64[k], both counted
    through all rows.
  """
  table = word_table(special)
  begins = word_starts(tokens, table)
  begins[:, 1:] |= segments[:, 1:] != segments[:, :-1]
  starts = np.flatnonzero(begins)
  stops = np.append(starts[1:], tokens.size)[: len(starts)]
  solid = table[tokens.reshape(-1)[starts]] & BLANK == 0
  return starts[solid], stops[solid]


def token_texts(special: Special) -> tuple[str, ...]:
  """What each token adds to a text that ends in a letter, V of them.

  A vocabulary may leave out a space at a text's start, so each token is
  decoded after a letter. One that gives no text, such as the end, has ''.

  Raises:
    UserError: there is no vocabulary at hand.
  """
  key = _key(special)
  if key not in _TEXTS:
    _TEXTS[key] = _decoded(special)
  return _TEXTS[key]


def _key(special: Special) -> tuple[str, int]:
  """What tells vocabularies apart."""
  if special.decode is None:
    raise UserError(
      'noise: no vocabulary is at hand to tell what words are. Set'
      ' Corpus.vocabulary'
    )
  return special.vocabulary_hash, special.vocabulary_size


def _decoded(special: Special) -> tuple[str, ...]:
  """Decodes every token, after a letter if the vocabulary has one."""
  decode, size = special.decode, special.vocabulary_size
  for letter in range(size):
    before = decode(np.array([letter]))
    if len(before) == 1 and before.isascii() and before.isalpha():
      break
  else:
    return tuple(decode(np.array([token])) for token in range(size))
  pairs = np.full((size, 2), letter)
  pairs[:, 1] = np.arange(size)
  return tuple(decode(pair).removeprefix(before) for pair in pairs)


def _flags(text: str) -> int:
  """What a token of this text is to a word."""
  if not text:
    return 0
  if text.isspace():
    return BLANK
  goes_on, is_open = (
    character == _PART or word_hashes.is_letter(character)
    for character in (text[0], text[-1])
  )
  return GOES_ON * goes_on + OPEN * is_open
