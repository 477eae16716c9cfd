"""BART's noise that rearranges a text: sentences permuted, documents rotated.

Lewis et al. 2020 (BART, arXiv:1910.13461), section 2.2, and the authors' code
(fairseq's DenoisingDataset).
"""

import dataclasses
from typing import ClassVar

import numpy as np

from tpu_lm.checks import check_number
from tpu_lm.data.noise import draws, spans, words
from tpu_lm.data.noise.base import Ragged
from tpu_lm.data.noise.corruption import Corruption, part_of
from tpu_lm.data.special_tokens import Special

_ENDS: dict[tuple[str, int, int], np.ndarray] = {}


@dataclasses.dataclass(frozen=True)
class SentencePermutation(Corruption):
  """Puts sentences into a random order.

  A sentence ends with the last of one or more tokens that end in a full stop,
  a question or an exclamation mark or that close a document, and with the
  row. In the authors' code it ends with the first of them, and only full
  stops count. So the sentences of all documents in a row are mixed.

  Attributes:
    rate: which part of the sentences change places among themselves, rounded
      up; the others stay. The paper's is 1, all of them.
  """

  rate: float = 1.0

  label: ClassVar[str] = 'sentence_permutation'

  def __post_init__(self):
    check_number('SentencePermutation.rate', self.rate, above=0, most=1)

  def corrupt(self, rows: Ragged, keys: np.ndarray, special: Special) -> Ragged:
    """See `Corruption`."""
    tokens, used = spans.padded(rows)
    table = np.append(sentence_ends(special), False)
    ends = table[np.minimum(tokens, len(table) - 1)]
    begins = used.copy()
    begins[:, 1:] &= ends[:, :-1] & ~ends[:, 1:]
    starts = np.flatnonzero(begins[used])
    lengths = np.diff(starts, append=len(rows.tokens))
    order = self._order(begins.sum(1), keys)
    pieces = spans.spread(starts[order], lengths[order])
    return Ragged(rows.tokens[pieces], rows.lengths)

  def _order(self, counts: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Draws the new order of sentences, numbered through all rows.

    Args:
      counts: i64[n], sentences of each row.
      keys: u64[n].

    Returns:
      i64[sum of counts].
    """
    most = int(counts.max(initial=0))
    places = np.arange(most)
    drawn = spans.shuffled(keys, counts, 'sentences')
    moving = places < part_of(counts, self.rate)[:, None]
    # The first ones drawn go to where they lie, in the order drawn.
    where = np.sort(np.where(moving, drawn, most), axis=1)
    order = np.tile(places, (len(counts), 1))
    order[np.nonzero(moving)[0], where[moving]] = drawn[moving]
    order += (np.cumsum(counts) - counts)[:, None]
    return order[places < counts[:, None]]


@dataclasses.dataclass(frozen=True)
class DocumentRotation(Corruption):
  """Lets a row begin at one of its tokens; what came before goes to its end.

  Attributes:
    rate: which part of the rows is rotated; the others stay.
  """

  rate: float = 1.0

  label: ClassVar[str] = 'document_rotation'

  def __post_init__(self):
    check_number('DocumentRotation.rate', self.rate, above=0, most=1)

  def corrupt(self, rows: Ragged, keys: np.ndarray, special: Special) -> Ragged:
    """See `Corruption`."""
    lengths = rows.lengths
    first = draws.below(keys, np.maximum(lengths, 1), 1, 'first')[:, 0]
    first[draws.uniform(keys, 1, 'rotated')[:, 0] >= self.rate] = 0
    starts = np.cumsum(lengths) - lengths
    pieces = spans.spread(
      np.stack([starts + first, starts], axis=1).reshape(-1),
      np.stack([lengths - first, first], axis=1).reshape(-1),
    )
    return Ragged(rows.tokens[pieces], lengths)


def sentence_ends(special: Special) -> np.ndarray:
  """Which tokens end a sentence, bool[V]; kept for each vocabulary.

  Raises:
    UserError: there is no vocabulary at hand to tell.
  """
  texts = words.token_texts(special)
  key = (special.vocabulary_hash, len(texts), special.end)
  if key not in _ENDS:
    ends = [text.rstrip().endswith(('.', '!', '?')) for text in texts]
    ends[special.end] = True
    _ENDS[key] = np.array(ends)
  return _ENDS[key]
