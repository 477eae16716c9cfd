"""How much of an evaluation set a corpus holds, by overlap of n-grams.

After GPT-3 (Brown et al. 2020, "Language Models are Few-Shot Learners",
section 4 and appendix C): words in lower case without punctuation; an item of
an evaluation set is dirty if any of its n-grams, N = 13 words, is in the
corpus. There, N falls to the 5th percentile of a set's lengths, but not below
8, "due to spurious collisions"; here each item decides for itself: one of 8
to 12 words is looked for whole, and one of fewer than 8 can't be judged and
is counted apart. GPT-3 also forgave n-grams that more than ten documents
held; here they count. What is said of GPT-3 is from memory of the paper and
was not looked up again.

The check is of 64-bit hashes and not of words: in a corpus of 10**12 words
against a million n-grams, one false hit is expected in 20 such corpora.
"""

import dataclasses
import functools
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tpu_lm.checks import UserError, require
from tpu_lm.data.document import BadRecord
from tpu_lm.data.ngram_index import NgramIndex, roll
from tpu_lm.data.sources.files import SPLITS, Files, check_files
from tpu_lm.data.word_hashes import CHARACTERS, hash_words

SHORTEST = 8  # words; matches of fewer are mere chance


@dataclasses.dataclass(frozen=True)
class Contamination:
  """A check of a corpus against evaluation sets.

  Attributes:
    evals: the sets, all of their splits; each record is an item, whose text
      is what its example format makes of it. A format that adds words of its
      own (a template) would find those in a corpus of the same template.
    n: words in an n-gram.
  """

  evals: tuple[Files, ...]
  n: int = 13

  def __post_init__(self):
    check_files('Contamination.evals', self.evals)
    require(len(self.evals) > 0, 'Contamination.evals', (), 'must not be empty')
    object.__setattr__(self, 'evals', tuple(self.evals))
    require(
      type(self.n) is int and SHORTEST <= self.n <= 100,
      'Contamination.n',
      self.n,
      f'must be an integer from {SHORTEST} to 100',
    )

  def counter(self) -> 'OverlapCounter':
    """A new count. The sets are read once per process.

    Raises:
      UserError: an evaluation set is missing, broken, or without a single
        item long enough to be found.
    """
    return OverlapCounter(_read(self), self.n)


@dataclasses.dataclass(frozen=True)
class _Eval:
  """An evaluation set, ready to be looked for."""

  name: str
  items: int
  hash: str  # of all its texts
  index: NgramIndex


class OverlapCounter:
  """Counts what a stretch of a corpus holds of the evaluation sets."""

  def __init__(self, evals: Sequence[_Eval], n: int):
    """Starts at nothing; made by `Contamination.counter`."""
    self._evals = evals
    self._n = n
    self._lengths = frozenset().union(*(one.index.lengths for one in evals))
    self._texts: list[str] = []
    self._characters = 0
    self._seen = [np.zeros(len(one.index), bool) for one in evals]
    self._documents = [0] * len(evals)
    self._ngrams = [0] * len(evals)

  def add(self, text: str) -> None:
    """Counts one document."""
    self._texts.append(text)
    self._characters += len(text)
    if self._characters >= CHARACTERS:
      self._count()

  def result(self) -> dict[str, Any]:
    """What was found so far.

    Returns:
      JSON-able, by name of the set: `n`; `hash` of the set's texts; `items`
      in it; `short`, those too short to be found; `dirty`, the items found,
      as a hexadecimal number whose bit i is item i; `documents` of the corpus
      that hold any; `ngrams`, how often one was met. `merge` adds such
      results up.
    """
    self._count()
    return {
      one.name: {
        'n': self._n,
        'hash': one.hash,
        'items': one.items,
        'short': int(one.index.short.sum()),
        'dirty': _bits(one.index.items_of(np.flatnonzero(seen))),
        'documents': documents,
        'ngrams': ngrams,
      }
      for one, seen, documents, ngrams in zip(
        self._evals, self._seen, self._documents, self._ngrams
      )
    }

  def _count(self) -> None:
    texts, self._texts, self._characters = self._texts, [], 0
    words, documents = hash_words(texts)
    rolled = roll(words, self._lengths)
    for place, one in enumerate(self._evals):
      ngrams, where = one.index.find(rolled, documents)
      self._seen[place][ngrams] = True
      self._documents[place] += np.unique(where).size
      self._ngrams[place] += ngrams.size


def merge(results: Iterable[dict[str, Any]]) -> dict[str, Any]:
  """Adds up the results of parts of a corpus, each document in one of them.

  Args:
    results: of `OverlapCounter.result` or of this function; empty ones (of
      parts that were not checked) are passed over.

  Raises:
    UserError: the parts were checked against different sets.
  """
  merged: dict[str, Any] = {}
  for result in filter(None, results):
    if not merged:
      merged = {name: dict(one) for name, one in result.items()}
      continue
    for name in sorted({*merged, *result}):
      one, other = merged.get(name, {}), result.get(name, {})
      if any(one.get(key) != other.get(key) for key in ('n', 'hash')):
        raise UserError(
          f'Contamination.evals: {name} was not the same for all of the'
          ' corpus: it was changed, added or taken away while the store was'
          ' being built. Delete the unfinished store and build it again'
        )
      dirty = int(one['dirty'], 16) | int(other['dirty'], 16)
      one['dirty'] = f'{dirty:x}'
      for key in ('documents', 'ngrams'):
        one[key] += other[key]
  return merged


def dirty_items(one: dict[str, Any]) -> list[int]:
  """The numbers of the items found, of one set of a result, ascending."""
  bits = f'{int(one["dirty"], 16):b}'[::-1]
  return [item for item, bit in enumerate(bits) if bit == '1']


def _bits(items: np.ndarray) -> str:
  """Numbers of items as the bits of one number, in hexadecimal."""
  flags = np.zeros(int(items.max(initial=-1)) + 1, bool)
  flags[items] = True
  packed = np.packbits(flags, bitorder='little').tobytes()
  return f'{int.from_bytes(packed, "little"):x}'


@functools.cache
def _read(contamination: Contamination) -> tuple[_Eval, ...]:
  return tuple(_read_eval(one, contamination.n) for one in contamination.evals)


def _read_eval(files: Files, n: int) -> _Eval:
  texts = list(_texts(files))
  index = NgramIndex(texts, n, SHORTEST)
  if index.short.all():
    raise UserError(
      f'Contamination.evals: none of the {len(texts)} items of {files.name}'
      f' has {SHORTEST} words or more, so none can be found in a corpus'
    )
  hashed = hashlib.blake2b(digest_size=16)
  for text in texts:
    hashed.update(text.encode(errors='surrogatepass') + b'\xff')
  return _Eval(files.name, len(texts), hashed.hexdigest(), index)


def _texts(files: Files) -> Iterator[str]:
  """The text of every item, in the order of the files."""
  splits = SPLITS
  if files.list_files('train') == files.list_files('validation'):
    # No split of its own: nothing is to be set aside.
    files = dataclasses.replace(files, validation_path=files.path)
    splits = ('train',)
  counts: Counter[str] = Counter()
  for split in splits:
    for shard in files.shards(split):
      for place, record in files.records(split, shard, counts):
        try:
          pieces = files.example.pieces(record)
        except BadRecord as error:
          files.bad(place, error, counts)
        else:
          yield ''.join(text for text, _ in pieces)
