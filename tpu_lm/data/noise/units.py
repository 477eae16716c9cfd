"""What is hidden together: tokens, whole words, spans of words."""

import abc
import dataclasses

import numpy as np

from tpu_lm.checks import check_number, require
from tpu_lm.data.noise import draws, spans, words
from tpu_lm.data.special_tokens import Special


class Units(abc.ABC):
  """Divides rows into units, each of which is hidden as one or not at all."""

  @abc.abstractmethod
  def divide(
    self,
    tokens: np.ndarray,
    segments: np.ndarray,
    keys: np.ndarray,
    special: Special,
  ) -> tuple[np.ndarray, np.ndarray]:
    """Divides each row.

    Args:
      tokens: i32[n, S].
      segments: i32[n, S], the document of each token; 0 is padding.
      keys: u64[n].
      special: the special tokens' numbers.

    Returns:
      Where a unit begins, bool[n, S], True at each row's first token; and
      which tokens of it are hidden if it is chosen, bool[n, S]: neither
      padding nor the token that ends documents. A unit may have none.
    """


@dataclasses.dataclass(frozen=True)
class Tokens(Units):
  """Each token by itself (Devlin et al. 2019, BERT, arXiv:1810.04805)."""

  def divide(self, tokens, segments, keys, special):
    """See `Units`."""
    return np.ones(tokens.shape, bool), maskable(tokens, segments, special)


class _WordSpans(Units):
  """Spans of whole words, laid end to end with lengths drawn one by one."""

  @property
  @abc.abstractmethod
  def chances(self) -> np.ndarray:
    """How likely a span of 1, 2, ... words is, in any scale; f64[longest]."""

  def divide(self, tokens, segments, keys, special):
    """See `Units`."""
    table = words.word_table(special)
    real = maskable(tokens, segments, special)
    solid = real & (table[tokens] & words.BLANK == 0)
    starts = solid & words.word_starts(tokens, table)
    place = np.flatnonzero(starts)
    row, documents = place // tokens.shape[1], segments.reshape(-1)[place]
    counts = starts.sum(1)
    number = np.arange(len(place)) - np.repeat(
      np.cumsum(counts) - counts, counts
    )
    begins = self._begins(keys, int(counts.max(initial=0)))[row, number]
    begins[1:] |= documents[1:] != documents[:-1]
    starts[:] = False
    starts.reshape(-1)[place[begins]] = True
    starts[:, :1] = True
    return starts, _inner(starts, solid)

  def _begins(self, keys: np.ndarray, count: int) -> np.ndarray:
    """Which of so many words begin a span, bool[n, count]."""
    chances = np.cumsum(self.chances)
    drawn = draws.uniform(keys, count, 'span lengths') * chances[-1]
    lengths = 1 + np.searchsorted(chances[:-1], drawn, side='right')
    ends = np.minimum(np.cumsum(lengths, axis=1), count)
    begins = np.zeros((len(keys), count + 1), bool)
    begins[:, 0] = True
    np.put_along_axis(begins, ends, True, axis=1)
    return begins[:, :count]


@dataclasses.dataclass(frozen=True)
class WholeWords(_WordSpans):
  """All tokens of a word, as in the second release of BERT.

  A punctuation mark is a word; white space is not hidden. For what words are
  see `words`.
  """

  @property
  def chances(self) -> np.ndarray:
    """Every span is one word."""
    return np.ones(1)


@dataclasses.dataclass(frozen=True)
class Spans(_WordSpans):
  """1 to `longest` words, n of them with a chance in proportion to 1 / n.

  Lan et al. 2020 (ALBERT, arXiv:1909.11942), section 3.1: 6/11, 3/11 and 2/11.
  Here the row is first divided into spans, of which some are chosen; there,
  chosen places are given lengths. No span crosses documents; the space
  between its words is hidden with it.

  Attributes:
    longest: the most words of a span.
  """

  longest: int = 3

  def __post_init__(self):
    _check_longest('Spans.longest', self.longest)

  @property
  def chances(self) -> np.ndarray:
    """1, 1/2, 1/3, ..."""
    return 1 / np.arange(1, self.longest + 1)


@dataclasses.dataclass(frozen=True)
class GeometricSpans(_WordSpans):
  """Spans whose number of words is of a geometric distribution, cut off.

  Joshi et al. 2020 (SpanBERT, arXiv:1907.10529), section 3.1: 0.2 and 10, a
  mean of 3.8 words. Divided as by `Spans`. The paper's 80/10/10 is drawn for
  a span as a whole; `MaskedLM` draws it for each token.

  Attributes:
    p: the chance that a span ends with a word.
    longest: the most words of a span; the chances up to it are scaled to 1.
  """

  p: float = 0.2
  longest: int = 10

  def __post_init__(self):
    check_number('GeometricSpans.p', self.p, above=0, below=1)
    _check_longest('GeometricSpans.longest', self.longest)

  @property
  def chances(self) -> np.ndarray:
    """1, 1 - p, (1 - p)**2, ..."""
    return (1 - self.p) ** np.arange(self.longest)


def maskable(
  tokens: np.ndarray, segments: np.ndarray, special: Special
) -> np.ndarray:
  """Which tokens may be hidden, bool[n, S]: no padding, no document's end."""
  return (segments > 0) & (tokens != special.end)


def choose(
  starts: np.ndarray, hidden: np.ndarray, budget: np.ndarray, keys: np.ndarray
) -> np.ndarray:
  """Chooses units at random as long as there is budget.

  In a random order each unit is taken if it does not exceed what is left of
  the budget, and passed over otherwise, as in BERT's whole word masking.

  Args:
    starts: bool[n, S], as `Units.divide` gives them.
    hidden: bool[n, S], likewise.
    budget: i64[n], how many tokens may be hidden.
    keys: u64[n].

  Returns:
    bool[n, S].
  """
  if not starts.size:
    return starts & hidden
  first = np.flatnonzero(starts)
  costs = np.add.reduceat(hidden.reshape(-1), first, dtype=np.int32)
  # Units side by side, row by row.
  counts = starts.sum(1)
  used = np.arange(counts.max()) < counts[:, None]
  cost = np.zeros(used.shape, np.int32)
  cost[used] = costs
  ranks = spans.ranks(keys, used.shape[1], 'units')
  ranks[cost == 0] |= ~spans.PLACE  # last, and never taken
  order = (np.sort(ranks, axis=1) & spans.PLACE).astype(np.int64)
  taken = _afford(np.take_along_axis(cost, order, axis=1), budget)
  chosen = np.zeros(used.shape, bool)
  np.put_along_axis(chosen, order, taken, axis=1)
  sizes = np.diff(first, append=starts.size)
  return np.repeat(chosen[used], sizes).reshape(starts.shape) & hidden


def _afford(costs: np.ndarray, budget: np.ndarray) -> np.ndarray:
  """What is taken, in order, of i32[n, m] with a budget of i64[n]."""
  taken = np.zeros(costs.shape, bool)
  rows, left = np.arange(len(costs)), budget.astype(np.int32)
  # The first unit that is too large stays so, as less and less is left. Each
  # round takes all that come before it.
  while len(rows):
    fits = (costs[rows] <= left[:, None]) & (costs[rows] > 0) & ~taken[rows]
    total = np.cumsum(costs[rows] * fits, axis=1, dtype=np.int32)
    fits &= total <= left[:, None]
    taken[rows] |= fits
    left = left - np.max(total * fits, axis=1, initial=0)
    goes_on = fits.any(axis=1) & (left > 0)
    rows, left = rows[goes_on], left[goes_on]
  return taken


def _inner(starts: np.ndarray, solid: np.ndarray) -> np.ndarray:
  """What lies between the first and last solid token of each unit."""
  if not starts.size:
    return starts & solid
  first = np.flatnonzero(starts)
  place = np.arange(starts.size)
  last = np.maximum.reduceat(np.where(solid.reshape(-1), place, -1), first)
  last = np.repeat(last, np.diff(first, append=starts.size))
  return (place <= last).reshape(starts.shape)


def _check_longest(key: str, longest: int) -> None:
  good = type(longest) is int and longest >= 1
  require(good, key, longest, 'must be an int >= 1')
