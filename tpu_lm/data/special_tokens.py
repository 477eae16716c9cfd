"""Tokens that no text has: sentinels, masks and modes, above the vocabulary.

Above the V numbers of a vocabulary lie n sentinels, the first of them on top
(V + n - 1, V + n - 2, ...: T5's order, so that 32,000 pieces with 100
sentinels get T5's own numbers), and above these the tokens of `NAMES`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tpu_lm.checks import UserError, nearest, require
from tpu_lm.data.store import TokenStore

# In the order of their numbers: new ones go to the end.
NAMES = (
  'mask',
  'mode_r',
  'mode_s',
  'mode_x',
  'fim_prefix',
  'fim_suffix',
  'fim_middle',
)
LOOKED_AT = 16  # documents whose last tokens say which token ends documents


@dataclasses.dataclass(frozen=True)
class SpecialTokens:
  """Which numbers the special tokens have.

  Attributes:
    sentinels: n, how many there are; T5 has 100, UL2 at 512 tokens needs 128.
    ids: numbers for tokens that the vocabulary has itself, or that a model was
      trained with, by name: of `NAMES`, and 'start' (what a decoder reads
      first: else 0, the padding, as in T5) and 'end' (what closes inputs and
      targets: else what the vocabulary ends documents with).
    first: the number of sentinel 0, for vocabularies that have the sentinels
      themselves (32,099 of T5's 32,100); None: V + n - 1, above them.
  """

  sentinels: int = 100
  ids: Mapping[str, int] = dataclasses.field(default_factory=dict)
  first: int | None = None

  def __post_init__(self):
    good = self.first is None or type(self.first) is int
    good = good and (self.first is None or self.first >= self.sentinels - 1)
    must = 'must be an int of at least sentinels - 1, or None'
    require(good, 'SpecialTokens.first', self.first, must)
    good = isinstance(self.ids, Mapping)
    must = 'must map names to numbers'
    require(good, 'SpecialTokens.ids', self.ids, must)
    key, count = 'SpecialTokens.sentinels', self.sentinels
    require(
      type(count) is int and count >= 0, key, count, 'must be an int >= 0'
    )
    known = (*NAMES, 'start', 'end')
    for name, number in self.ids.items():
      key = f'SpecialTokens.ids[{name!r}]'
      hint = f'is not known.{nearest(str(name), known)}'
      require(name in known, 'SpecialTokens.ids', name, hint)
      good = type(number) is int and number >= 0
      require(good, key, number, 'must be an int >= 0')

  def of(
    self,
    store: TokenStore,
    decode: Callable[[np.ndarray], str] | None = None,
    encode: Callable[[Sequence[str]], list[np.ndarray]] | None = None,
    end: int | None = None,
  ) -> 'Special':
    """The special tokens above a store's vocabulary.

    Args:
      store: says how large the vocabulary is, and what ends documents.
      decode: the vocabulary's; None where there is none at hand.
      encode: likewise.
      end: what the vocabulary ends documents with; None where it is not known,
        and the store's documents are looked at.

    Raises:
      UserError: the store's documents don't end in one and the same token,
        and `ids` names no 'end'.
    """
    end = self.ids.get('end', end)
    return Special(
      vocabulary_size=store.vocabulary_size,
      vocabulary_hash=store.manifest.vocabulary.get('hash', ''),
      end=_last_token(store) if end is None else end,
      start=self.ids.get('start', 0),
      sentinels=self.sentinels,
      ids=self.ids,
      first=self.first,
      decode=decode,
      encode=encode,
    )


@dataclasses.dataclass(frozen=True)
class Special:
  """The special tokens of one vocabulary, by number.

  Attributes:
    vocabulary_size: V; text has tokens below it.
    vocabulary_hash: tells vocabularies apart, for what is kept of them.
    end: closes inputs and targets.
    start: what a decoder reads first.
    sentinels: how many sentinels there are.
    ids: as of `SpecialTokens`.
    first: likewise.
    decode: int[n] to text; None where no vocabulary is at hand.
    encode: texts to an array of tokens each; likewise.
  """

  vocabulary_size: int
  vocabulary_hash: str
  end: int
  start: int
  sentinels: int
  ids: Mapping[str, int]
  first: int | None = None
  decode: Callable[[np.ndarray], str] | None = None
  encode: Callable[[Sequence[str]], list[np.ndarray]] | None = None

  def sentinel(self, index: np.ndarray | int) -> np.ndarray | int:
    """The number of sentinel 0, 1, ...; they count down."""
    first = self.first
    if first is None:
      first = self.vocabulary_size + self.sentinels - 1
    return first - index

  def id(self, name: str) -> int:
    """The number of one of `NAMES`."""
    own = self.sentinels if self.first is None else 0
    above = self.vocabulary_size + own
    return self.ids.get(name, above + NAMES.index(name))

  def size(self, names: Sequence[str], sentinels: int) -> int:
    """How large a model's vocabulary must be for some of them.

    Args:
      names: of `NAMES`.
      sentinels: how many sentinels are used.

    Raises:
      UserError: there are fewer sentinels than that, or two of the tokens have
        one number.
    """
    if sentinels > self.sentinels:
      raise UserError(
        f'SpecialTokens.sentinels = {self.sentinels}: the noise needs'
        f' {sentinels} at this length'
      )
    named = {name: self.id(name) for name in names}
    drawn = {f'sentinel {i}': self.sentinel(i) for i in range(sentinels)}
    owners: dict[int, str] = {}
    for name, number in (named | drawn).items():
      if other := owners.get(number):
        raise UserError(
          f'SpecialTokens: {other} and {name} are both token {number}'
        )
      owners[number] = name
    return 1 + max(self.end, self.start, self.vocabulary_size - 1, *owners)


def _last_token(store: TokenStore) -> int:
  """The token that ends the store's documents, from looking at a few."""
  count = min(LOOKED_AT, store.num_documents)
  last = store.offsets[1 : count + 1] - 1
  ends = {int(tokens[0]) for tokens in store.gather_tokens(last, last * 0 + 1)}
  if len(ends) != 1:
    raise UserError(
      f'{store.manifest.task} ({store.manifest.split}): its documents end in'
      ' different tokens, so there is none to close inputs and targets with.'
      " Set SpecialTokens.ids = {'end': ...}"
    )
  return ends.pop()
