"""Fill-in-the-middle: a document's middle is moved to its end.

Bavarian et al. 2022 (arXiv:2207.14255), sections 3 and 3.1. A model that
predicts the next token so learns to write what fits between two texts.
"""

import dataclasses

import numpy as np

from tpu_lm.checks import check_number, require
from tpu_lm.data.noise import draws, spans
from tpu_lm.data.noise.base import Ragged, TextNoiser
from tpu_lm.data.special_tokens import Special

ADDED = 3  # tokens in each document that is rearranged


@dataclasses.dataclass(frozen=True)
class FillInTheMiddle(TextNoiser):
  """Rearranges some of the documents in a row, or the parts of them there.

  A document is cut at two places, each alike likely between any two tokens
  and at the ends, into prefix, middle and suffix. With the special tokens
  <P>, <S> and <M> and the end mark `.` of documents, which stays last:

      prefix first   <P> prefix <S> suffix <M> middle .
      suffix first   <P> <S> suffix <M> prefix middle .

  The second form is the paper's variant that shares its beginning with the
  first. Rows are cut from documents before (the paper's 'context level'), so
  each piece of a long document has a middle of its own. Cuts are between
  tokens, where the paper's are between characters.

  Attributes:
    rate: which part of the documents is rearranged.
    spm_rate: which part of those has the suffix first; the paper mixes both
      half and half.
    shortest: documents of fewer tokens stay as they are, the end mark counted.
      So a row grows by at most 3 * (its length // shortest) tokens.
  """

  rate: float = 0.5
  spm_rate: float = 0.5
  shortest: int = 64

  def __post_init__(self):
    key = 'FillInTheMiddle'
    check_number(f'{key}.rate', self.rate, above=0)
    check_number(f'{key}.spm_rate', self.spm_rate, least=0)
    for name, value in [('rate', self.rate), ('spm_rate', self.spm_rate)]:
      require(value <= 1, f'{key}.{name}', value, 'must be at most 1')
    good = type(self.shortest) is int and self.shortest >= 1
    require(good, f'{key}.shortest', self.shortest, 'must be an int >= 1')

  @property
  def labels(self) -> tuple[str, ...]:
    """One objective: documents of either kind share rows."""
    return ('fill_in_the_middle',)

  @property
  def names(self) -> tuple[str, ...]:
    """What stands before the three parts."""
    return ('fim_prefix', 'fim_suffix', 'fim_middle')

  def size(self, length: int) -> int:
    """See `TextNoiser`; reached where all documents are of `shortest`."""
    return length + ADDED * (length // self.shortest)

  def texts(
    self,
    tokens: np.ndarray,
    segments: np.ndarray,
    keys: np.ndarray,
    special: Special,
  ) -> tuple[Ragged, np.ndarray]:
    """See `TextNoiser`."""
    begins = np.ones(tokens.shape, bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    starts = np.flatnonzero(begins)
    lengths = np.diff(starts, append=tokens.size)
    counts = begins.sum(1)
    flat = tokens.reshape(-1)
    closed = (flat[starts + lengths - 1] == special.end).astype(np.int64)
    document_keys = _document_keys(keys, counts)
    chance = draws.uniform(document_keys, 2, 'kind')
    moved = (chance[:, 0] < self.rate) & (lengths >= self.shortest)
    suffix_first = moved & (chance[:, 1] < self.spm_rate)
    cuts = draws.below(document_keys, lengths - closed + 1, 2, 'cuts')
    first = np.where(moved, cuts.min(1), 0)
    second = np.where(moved, cuts.max(1), 0)
    # Documents that stay are all suffix, without special tokens.
    prefix, middle = (starts, first), (starts + first, second - first)
    suffix = (starts + second, lengths - closed - second)
    end = (starts + lengths - closed, closed)
    marks = [
      (np.full_like(starts, tokens.size + i), moved.astype(np.int64))
      for i in range(ADDED)
    ]
    pieces = [
      marks[0],
      _either(suffix_first, (starts, 0), prefix),
      marks[1],
      suffix,
      marks[2],
      _either(suffix_first, prefix, (starts, 0)),
      middle,
      end,
    ]
    places = spans.spread(
      *(np.stack(part, axis=1).reshape(-1) for part in zip(*pieces))
    )
    source = np.append(flat, [special.id(name) for name in self.names])
    grown = lengths + ADDED * moved
    row = np.repeat(np.arange(len(tokens)), counts)
    return (
      Ragged(
        source[places].astype(np.int32),
        np.bincount(row, grown, len(tokens)).astype(np.int64),
      ),
      np.repeat(segments.reshape(-1)[starts], grown).astype(np.int32),
    )


def _document_keys(keys: np.ndarray, counts: np.ndarray) -> np.ndarray:
  """A key for each of a row's documents, by its place there; u64[sum]."""
  most = int(counts.max(initial=0))
  drawn = draws.bits(keys, most, 'documents')
  return drawn[np.arange(most) < counts[:, None]]


def _either(chosen, one, other) -> tuple[np.ndarray, np.ndarray]:
  """Starts and lengths of one piece where chosen, of the other elsewhere."""
  return tuple(np.where(chosen, a, b) for a, b in zip(one, other))
