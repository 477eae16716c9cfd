"""Code-switching: words of the inputs stand in another language.

From memory, not checked against the papers: Yang et al. 2020 ("CSP:
Code-Switching Pre-training for Neural Machine Translation", EMNLP) replace
words by translations from a lexicon and predict what was replaced; Lin et al.
2020 (mRASP, "random aligned substitution", EMNLP) replace words of the source
of translation pairs. Here all of the text is restored, so that the objective
needs no parallel text.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from tpu_lm.checks import UserError, check_number, require
from tpu_lm.data.noise import draws, lexicons, phrases, spans
from tpu_lm.data.noise.base import PairNoiser, Pairs, Ragged
from tpu_lm.data.special_tokens import Special
from tpu_lm.data.vocabularies import model_file

KEY = 'CodeSwitch.lexicon'


class _Dictionary(NamedTuple):
  """Phrases, and for phrase i translations first[i] to first[i + 1] - 1.

  Translation j is tokens[starts[j] : starts[j + 1]].
  """

  known: phrases.Phrases
  first: np.ndarray
  starts: np.ndarray
  tokens: np.ndarray


_DICTIONARIES: dict[tuple, _Dictionary] = {}


@dataclasses.dataclass(frozen=True)
class CodeSwitch(PairNoiser):
  """Replaces words and phrases by translations; the targets are the text.

  Attributes:
    lexicon: path or URL of the list: UTF-8; phrase, tab and translation on
      each line, several lines for several translations, of which one is drawn.
      Capitals count.
    rate: the chance of each phrase found to be replaced.
    growth: inputs have at most this part more tokens than the text. What
      would exceed it, from the left and without counting what others save,
      stays as it is.
  """

  lexicon: str
  rate: float = 0.3
  growth: float = 0.25

  def __post_init__(self):
    good = isinstance(self.lexicon, str) and self.lexicon != ''
    require(good, KEY, self.lexicon, 'must be the path or URL of a list')
    check_number('CodeSwitch.rate', self.rate, above=0)
    require(self.rate <= 1, 'CodeSwitch.rate', self.rate, 'must be at most 1')
    check_number('CodeSwitch.growth', self.growth, least=0)

  @property
  def labels(self) -> tuple[str, ...]:
    """One objective."""
    return ('code_switch',)

  def sizes(self, length: int) -> tuple[int, int]:
    """See `PairNoiser`; few rows reach the first where `growth` is large."""
    return length + int(self.growth * length), length

  def pairs(
    self, tokens: np.ndarray, keys: np.ndarray, special: Special
  ) -> Pairs:
    """See `PairNoiser`."""
    n, length = tokens.shape
    held = self._dictionary(special)
    # One text a row; no phrase holds the end of a document.
    one = np.broadcast_to(np.int32(1), tokens.shape)
    found = phrases.find(held.known, tokens, one, special)
    drawn = draws.uniform(keys, 2 * length, 'switched').reshape(n, 2, length)
    row, place = np.divmod(found.starts, max(length, 1))
    first = held.first[found.numbers]
    count = held.first[found.numbers + 1] - first
    chosen = first + (drawn[row, 1, place] * count).astype(np.int64)
    sizes = np.diff(held.starts)[chosen]
    change = sizes - (found.stops - found.starts)
    taken = drawn[row, 0, place] < self.rate
    taken &= _within(change * taken, row, self.sizes(length)[0] - length)
    row, chosen, change = row[taken], chosen[taken], change[taken]
    starts, stops = found.starts[taken], found.stops[taken]
    # Text and translations take turns; the rest of the text is last.
    text = np.append(0, stops), np.append(starts, tokens.size)
    switched = np.append(held.starts[chosen], 0), np.append(sizes[taken], 0)
    places = spans.spread(
      np.stack([text[0], tokens.size + switched[0]], 1).reshape(-1),
      np.stack([text[1] - text[0], switched[1]], 1).reshape(-1),
    )
    source = np.concatenate([tokens.reshape(-1), held.tokens])
    grown = np.bincount(row, change, n).astype(np.int64)
    return Pairs(
      Ragged(source[places].astype(np.int32), length + grown),
      spans.even(tokens),
      np.zeros(n, np.int64),
    )

  def _dictionary(self, special: Special) -> _Dictionary:
    path, vocabulary = self.lexicon, special.vocabulary_hash
    key = (path, model_file.stamp(path), vocabulary)
    if key not in _DICTIONARIES:
      _DICTIONARIES[key] = _load(path, special)
    return _DICTIONARIES[key]


def _within(change: np.ndarray, row: np.ndarray, room: int) -> np.ndarray:
  """Which replacements keep within the room of their row, bool[k].

  Args:
    change: i64[k], by how much each makes its row longer.
    row: i64[k], rising.
    room: tokens.
  """
  grown = np.cumsum(np.maximum(change, 0))
  before = np.append(0, grown)[np.searchsorted(row, row)]
  return (change <= 0) | (grown - before <= room)


def _load(path: str, special: Special) -> _Dictionary:
  """Reads a lexicon in the tokens of a vocabulary."""
  entries = lexicons.read(KEY, path)
  tokens = [
    lexicons.tokenised(texts, special) for texts in zip(*entries, strict=True)
  ]
  # A phrase after a space has translations after a space: both with it, if it
  # is part of a token, or both without. Where the forms are equal, what stands
  # first counts: the tokens at the start of a text, which have no space.
  found: dict[tuple[str, int], list] = {}
  for (text, _), one, other in zip(entries, *tokens, strict=True):
    for i, form in enumerate(one if one and other else ()):
      new = other[i].bare if form.blanks else other[i].tokens
      found.setdefault((text, i), []).append((form.bare, new))
  if not found:
    raise UserError(
      f'{KEY} = {path!r}: the vocabulary has no tokens for any of its phrases'
      ' with a translation'
    )
  groups = [*found.values()]
  translations = [other for group in groups for _, other in group]
  sizes = [len(other) for other in translations]
  return _Dictionary(
    phrases.index(
      [group[0][0] for group in groups], range(len(groups)), special
    ),
    np.cumsum([0, *(len(group) for group in groups)]),
    np.cumsum([0, *sizes]),
    np.concatenate(translations),
  )
