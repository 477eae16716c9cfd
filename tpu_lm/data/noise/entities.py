"""Units that are names, numbers or phrases of a list, and nothing else."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from tpu_lm.checks import UserError, check_all, nearest, require
from tpu_lm.data.noise import draws, lexicons, phrases, words
from tpu_lm.data.noise.units import Units, maskable
from tpu_lm.data.special_tokens import Special
from tpu_lm.data.vocabularies import model_file

KEY = 'Entities.lexicon'
CAPITALISED, NUMBER = 'capitalised', 'number'
RULES = (CAPITALISED, NUMBER)
# What may stand between the end of a sentence and a capital letter.
_MARKS = '"\'()[]{}*_-\u00ab\u00bb\u2013\u2014\u2018\u2019\u201c\u201d\u201e'
_STOPS = ('.', '!', '?', ':')
_CAPITAL, _DIGIT, _CLOSES, _PASSES = 1, 2, 4, 8

_PHRASES: dict[tuple, phrases.Phrases] = {}
_FEATURES: dict[tuple[str, int], np.ndarray] = {}


@dataclasses.dataclass(frozen=True)
class Entities(Units):
  """Entities: words and phrases of some classes.

  After linguistic entity masking (LEM), which hides one token of each noun,
  verb and name that it chooses, tagged by a parser. Here classes come from a
  list, and from two rules that need none: 'capitalised', a word with a capital
  letter that begins no sentence (after . ! ? or :, a line's or a document's
  start), and 'number', a word that begins with a digit. A phrase of the list
  goes before the rules.

  Attributes:
    classes: those that are hidden; empty: all of the list and both rules.
    lexicon: path or URL of the list: UTF-8, phrase, tab and class on each
      line. Capitals count; of two classes of a phrase the first does. Empty:
      no list.
    whole: False: one token of an entity is hidden, drawn at random, as in LEM;
      True: all of them.
  """

  classes: tuple[str, ...] = ()
  lexicon: str = ''
  whole: bool = False

  def __post_init__(self):
    key = 'Entities.classes'
    check_all(key, self.classes, str, 'names of classes')
    object.__setattr__(self, 'classes', tuple(self.classes))  # gin's are lists
    good = isinstance(self.lexicon, str)
    require(good, KEY, self.lexicon, "must be a path, or '' for none")
    good = isinstance(self.whole, bool)
    require(good, 'Entities.whole', self.whole, 'must be a bool')
    if not self.lexicon:
      _check_classes(self.classes, RULES)

  def divide(self, tokens, segments, keys, special):
    """See `Units`."""
    starts, stops = self._places(tokens, segments, special)
    begins = np.zeros(tokens.size + 1, bool)
    begins[:: max(tokens.shape[1], 1)] = True
    begins[starts] = begins[stops] = True
    if self.whole:
      inside = phrases.inside(starts, stops, tokens.size)
    else:
      drawn = draws.uniform(keys, tokens.shape[1], 'token of an entity')
      at = drawn.reshape(-1)[starts] * (stops - starts)
      inside = np.zeros(tokens.size, bool)
      inside[starts + at.astype(np.int64)] = True
    inside = inside.reshape(tokens.shape) & maskable(tokens, segments, special)
    return begins[:-1].reshape(tokens.shape), inside

  def _places(
    self, tokens: np.ndarray, segments: np.ndarray, special: Special
  ) -> tuple[np.ndarray, np.ndarray]:
    """First token of each entity and the one after; counted through rows."""
    found = self._found(tokens, segments, special)
    wanted = [name in (self.classes or RULES) for name in RULES]
    if not any(wanted):
      return found.starts, found.stops
    starts, stops = words.word_places(tokens, segments, special)
    ruled = _ruled(starts, tokens, segments, special)[wanted].any(0)
    covered = phrases.inside(found.starts, found.stops, tokens.size)
    keep = ruled & ~covered[starts]
    starts = np.concatenate([found.starts, starts[keep]])
    stops = np.concatenate([found.stops, stops[keep]])
    return starts, stops

  def _found(
    self, tokens: np.ndarray, segments: np.ndarray, special: Special
  ) -> phrases.Found:
    """The phrases of the list."""
    if not self.lexicon:
      return phrases.Found(*np.zeros((3, 0), np.int64))
    path, vocabulary = self.lexicon, special.vocabulary_hash
    key = (path, model_file.stamp(path), vocabulary, tuple(self.classes))
    if key not in _PHRASES:
      _PHRASES[key] = self._phrases(special)
    return phrases.find(_PHRASES[key], tokens, segments, special)

  def _phrases(self, special: Special) -> phrases.Phrases:
    """Reads the list."""
    entries = lexicons.read(KEY, self.lexicon)
    _check_classes(self.classes, {*RULES, *(name for _, name in entries)})
    first = dict(reversed(entries))  # of two classes of a phrase, the first
    texts = [
      text
      for text, name in first.items()
      if not self.classes or name in self.classes
    ]
    forms = [form for form in lexicons.tokenised(texts, special) if form]
    if not forms:
      raise UserError(
        f'{KEY} = {self.lexicon!r}: no phrase of these classes is in the tokens'
        ' of the vocabulary'
      )
    flat = [form.bare for pair in forms for form in pair]
    return phrases.index(flat, [0] * len(flat), special)


def _ruled(
  starts: np.ndarray,
  tokens: np.ndarray,
  segments: np.ndarray,
  special: Special,
) -> np.ndarray:
  """Which words each of `RULES` holds for, bool[2, words].

  Args:
    starts: i64[words], their first tokens, counted through all rows.
    tokens: i32[n, S].
    segments: i32[n, S].
    special: with the vocabulary at hand.
  """
  flags = _features(special)[tokens.reshape(-1)]
  before = np.where(flags & _PASSES, -1, np.arange(tokens.size))
  before = np.append(-1, np.maximum.accumulate(before))[starts]
  row = starts // max(tokens.shape[1], 1)
  documents = segments.reshape(-1)
  first = before < row * tokens.shape[1]
  first |= documents[before] != documents[starts]
  first |= flags[before] & _CLOSES != 0
  flags = flags[starts]
  return np.stack([(flags & _CAPITAL != 0) & ~first, flags & _DIGIT != 0])


def _features(special: Special) -> np.ndarray:
  """What the rules ask of each token, i8[V]; kept for each vocabulary."""
  key = (special.vocabulary_hash, special.vocabulary_size)
  if key not in _FEATURES:
    found = [_feature(text) for text in words.token_texts(special)]
    _FEATURES[key] = np.array(found, np.int8)
  return _FEATURES[key]


def _feature(text: str) -> int:
  plain, line = text.strip(), '\n' in text
  closes = line or plain.rstrip(_MARKS).endswith(_STOPS)
  passes = text != '' and not line and not plain.strip(_MARKS)
  first = plain[:1]
  return (
    _CAPITAL * first.isupper()
    + _DIGIT * first.isdigit()
    + _CLOSES * closes
    + _PASSES * passes
  )


def _check_classes(classes: tuple[str, ...], known: Iterable[str]) -> None:
  for name in classes:
    hint = f'is no class of the list.{nearest(name, known)}'
    require(name in known, 'Entities.classes', name, hint)
