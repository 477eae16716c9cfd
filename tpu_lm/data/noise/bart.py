"""BART's noise: words and spans that are masked, inserted or left out.

Lewis et al. 2020 (BART, arXiv:1910.13461), section 2.2, and the authors' code
(fairseq's DenoisingDataset). The paper pretrains with text infilling after
sentence permutation; `sentences` has what rearranges a text.
"""

import dataclasses
from typing import ClassVar

import numpy as np

from tpu_lm.checks import check_all, check_number, require
from tpu_lm.data.noise import draws, spans, words
from tpu_lm.data.noise.base import Ragged
from tpu_lm.data.noise.corruption import Corruption, part_of
from tpu_lm.data.special_tokens import Special

MOST_MEAN = 100.0  # of a Poisson distribution whose table is worked out


@dataclasses.dataclass(frozen=True)
class Bart(Corruption):
  """Several corruptions, one after another.

  The paper's recipe is (SentencePermutation(), TextInfilling()).

  Attributes:
    functions: in the order in which they are applied.
  """

  functions: tuple[Corruption, ...]

  label: ClassVar[str] = 'bart'

  def __post_init__(self):
    key, functions = 'Bart.functions', self.functions
    check_all(key, functions, Corruption, 'noisers of a clean text')
    require(len(functions) > 0, key, functions, 'must not be empty')
    object.__setattr__(self, 'functions', tuple(functions))  # gin's are lists

  @property
  def names(self) -> tuple[str, ...]:
    """What the functions use."""
    names = [name for function in self.functions for name in function.names]
    return tuple(dict.fromkeys(names))

  def size(self, length: int) -> int:
    """See `Corruption`."""
    for function in self.functions:
      length = function.size(length)
    return length

  def corrupt(self, rows: Ragged, keys: np.ndarray, special: Special) -> Ragged:
    """See `Corruption`."""
    inner = draws.bits(keys, len(self.functions), 'function')
    for index, function in enumerate(self.functions):
      rows = function.corrupt(rows, inner[:, index], special)
    return rows


@dataclasses.dataclass(frozen=True)
class TokenMasking(Corruption):
  """Masks single tokens; unlike BERT's, none is kept or replaced by another.

  Attributes:
    rate: which part of the tokens, rounded up.
  """

  rate: float = 0.15

  label: ClassVar[str] = 'token_masking'

  def __post_init__(self):
    check_number('TokenMasking.rate', self.rate, above=0, below=1)

  @property
  def names(self) -> tuple[str, ...]:
    """The mask."""
    return ('mask',)

  def corrupt(self, rows: Ragged, keys: np.ndarray, special: Special) -> Ragged:
    """See `Corruption`."""
    chosen = _chosen(rows, self.rate, keys, 'token masking')
    return Ragged(np.where(chosen, _mask(special), rows.tokens), rows.lengths)


@dataclasses.dataclass(frozen=True)
class TokenDeletion(Corruption):
  """Leaves single tokens out, without a trace.

  Attributes:
    rate: which part of the tokens, rounded up.
  """

  rate: float = 0.15

  label: ClassVar[str] = 'token_deletion'

  def __post_init__(self):
    check_number('TokenDeletion.rate', self.rate, above=0, below=1)

  def size(self, length: int) -> int:
    """What every row of the length is left with, not only the most."""
    return length - int(part_of(np.array(length), self.rate))

  def corrupt(self, rows: Ragged, keys: np.ndarray, special: Special) -> Ragged:
    """See `Corruption`."""
    chosen = _chosen(rows, self.rate, keys, 'token deletion')
    lengths = rows.lengths - part_of(rows.lengths, self.rate)
    return Ragged(rows.tokens[~chosen], lengths)


@dataclasses.dataclass(frozen=True)
class TextInfilling(Corruption):
  """Replaces spans of words by one mask each; an empty span inserts a mask.

  Lengths are drawn from a Poisson distribution until their sum reaches the
  budget, and the last is cut to it. The spans begin at different words, and
  end with the row at the latest; where they overlap, one mask stands for both.
  So fewer words than the budget may be hidden. All this is as in the authors'
  code, but for three things: spaces and punctuation marks that are tokens are
  words of their own (see `words`); the place of each inserted mask is drawn by
  itself; and no more are inserted than leave the row at its length, which
  matters to rows of a few words alone.

  Attributes:
    rate: which part of the words is the budget, rounded up.
    mean_span: the mean number of words of a span, empty ones included.
    whole_words: False counts tokens in place of words. Words need the
      vocabulary at hand.
  """

  rate: float = 0.3
  mean_span: float = 3.0
  whole_words: bool = True

  label: ClassVar[str] = 'text_infilling'

  def __post_init__(self):
    key, whole = 'TextInfilling', self.whole_words
    check_number(f'{key}.rate', self.rate, above=0, below=1)
    check_number(f'{key}.mean_span', self.mean_span, least=0.5, below=MOST_MEAN)
    good = isinstance(whole, bool)
    require(good, f'{key}.whole_words', whole, 'must be a bool')

  @property
  def names(self) -> tuple[str, ...]:
    """The mask."""
    return ('mask',)

  def corrupt(self, rows: Ragged, keys: np.ndarray, special: Special) -> Ragged:
    """See `Corruption`."""
    tokens, used = spans.padded(rows)
    begins = used
    if self.whole_words:
      begins = _word_starts(tokens, special) & used
    counts = begins.sum(1)
    lengths, inserts = self._spans(part_of(counts, self.rate), keys)
    hidden, first = _hide(begins, counts, lengths, keys)
    keep = used & (first | ~hidden)
    kept = keep.sum(1)
    text = np.where(first, _mask(special), tokens)[keep]
    # Flat places between kept tokens, the row's ends included.
    inserts = np.minimum(inserts, rows.lengths - kept)
    most = int(inserts.max(initial=0))
    gaps = draws.below(keys, kept + 1, most, 'inserted masks')
    gaps += (np.cumsum(kept) - kept)[:, None]
    gaps = gaps[np.arange(most) < inserts[:, None]]
    return Ragged(np.insert(text, gaps, _mask(special)), kept + inserts)

  def _spans(
    self, budget: np.ndarray, keys: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """Draws the spans' lengths.

    Args:
      budget: i64[n], what they add up to.
      keys: u64[n].

    Returns:
      i64[n, m], some of them 0; and how many empty spans there are, i64[n].
    """
    table = _poisson(self.mean_span)
    count = 16 + int(budget.max(initial=0) / self.mean_span * 1.25)
    while True:
      # The first numbers are the same however many are drawn.
      drawn = draws.uniform(keys, count, 'span lengths')
      drawn = np.searchsorted(table, drawn, side='right')
      left = budget[:, None] - (np.cumsum(drawn, axis=1) - drawn)
      if np.all(left[:, -1] <= drawn[:, -1]):
        break
      count *= 2
    lengths = np.minimum(drawn, np.maximum(left, 0))
    return lengths, np.sum((drawn == 0) & (left > 0), axis=1)


def _hide(
  begins: np.ndarray, counts: np.ndarray, lengths: np.ndarray, keys: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Lays spans of words over rows.

  Args:
    begins: bool[n, width], where words begin; one does at each row's start.
    counts: i64[n], how many words there are.
    lengths: i64[n, m], words of each span; there are more words than spans
      that are not empty.
    keys: u64[n].

  Returns:
    Which tokens lie in a span, and which of them begin a span that no other
    one runs into, both bool[n, width].
  """
  n = len(begins)
  real = lengths > 0
  row = np.nonzero(real)[0]
  order = spans.shuffled(keys, counts, 'span starts')
  start = order[row, (np.cumsum(real, axis=1) - 1)[real]]
  stop = np.minimum(start + lengths[real], counts[row])
  # Words by number; one more in each row, for spans that end with it.
  stride = int(counts.max(initial=0)) + 1
  start, stop = start + row * stride, stop + row * stride
  change = np.bincount(start + 1, minlength=n * stride)
  goes_on = np.cumsum(change - np.bincount(stop, minlength=n * stride)) > 0
  first = np.zeros(n * stride, bool)
  first[start] = True
  first &= ~goes_on
  word = np.maximum(np.cumsum(begins, axis=1) - 1, 0)
  word += np.arange(n)[:, None] * stride
  return (goes_on | first)[word], first[word] & begins


def _word_starts(tokens: np.ndarray, special: Special) -> np.ndarray:
  """Where words begin; a token above the vocabulary is one of its own."""
  table = np.append(words.word_table(special), np.int8(0))
  return words.word_starts(np.minimum(tokens, len(table) - 1), table)


def _chosen(
  rows: Ragged, rate: float, keys: np.ndarray, purpose: str
) -> np.ndarray:
  """Chooses part of each row's tokens, bool[sum of lengths]."""
  counts = part_of(rows.lengths, rate)
  chosen = spans.choose(keys, rows.lengths, counts, purpose)
  return chosen[np.arange(chosen.shape[1]) < rows.lengths[:, None]]


def _poisson(mean: float) -> np.ndarray:
  """The chances of a number <= 0, 1, ... up to where only 1e-12 is left."""
  numbers = np.arange(1, int(mean + 12 * mean**0.5) + 12)
  logs = np.concatenate([[0.0], np.cumsum(np.log(mean / numbers))])
  # Rounded, for processors differ in the last digits.
  return np.cumsum(np.exp(logs - mean)).round(12)


def _mask(special: Special) -> np.int32:
  return np.int32(special.id('mask'))
