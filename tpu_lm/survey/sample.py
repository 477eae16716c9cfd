"""Texts of a mixture, to train a vocabulary on."""

import dataclasses
import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from tpu_lm.checks import UserError
from tpu_lm.data.corpus import Corpus
from tpu_lm.data.recipe import Recipe

OPEN_SHARDS = 8


def sample_texts(
  corpus: Corpus,
  weights: Mapping[str, float],
  sample_bytes: int,
  seed: int,
) -> Iterator[str]:
  """Samples texts of the training splits, in proportion to weights.

  No store is built or read, and the corpus's vocabulary is not needed: it may
  be the one to be trained. The shards of a source are visited in a random
  order, a few at a time and a document of each in turn, so that one that is
  sorted, or large, does not fill the sample. A source that runs out is left
  out, and the sample is smaller than asked for by what it lacks. The last text
  of a source is cut where its share ends.

  Args:
    corpus: defines the sources.
    weights: name of a source or mixture to its share of the bytes, any scale.
    sample_bytes: how much to sample, in bytes of UTF-8.
    seed: of the order of shards; equal arguments give equal samples.

  Yields:
    Texts, none empty.

  Raises:
    UserError: a source is unknown, or its data are bad.
  """
  corpus = dataclasses.replace(corpus, vocabulary=None)
  shares: Counter[str] = Counter()
  for name, weight in weights.items():
    rates = corpus.expand(name)
    for task, rate in rates.items():
      shares[task] += weight * rate / sum(rates.values())
  shares = {name: share for name, share in sorted(shares.items()) if share > 0}
  if not shares:
    raise UserError(f'no source has a weight above 0: {dict(weights)}')
  whole = sum(shares.values())
  for name, share in shares.items():
    wanted = int(sample_bytes * share / whole)
    for text in _spread(corpus.recipe(name, 'train'), seed):
      encoded = text.encode()[:wanted]
      wanted -= len(encoded)
      if cut := encoded.decode(errors='ignore'):
        yield cut
      if not wanted:
        break


def _spread(recipe: Recipe, seed: int) -> Iterator[str]:
  """The texts of a recipe, some shards at a time, one of each in turn."""
  key = hashlib.blake2b(f'{seed}/{recipe.task}'.encode(), digest_size=8)
  random = np.random.default_rng(int.from_bytes(key.digest(), 'little'))
  waiting = random.permutation(len(recipe.shards())).tolist()[::-1]
  readers: list[Iterator] = []
  while waiting or readers:
    while waiting and len(readers) < OPEN_SHARDS:
      readers.append(recipe.documents(waiting.pop(), Counter()))
    for reader in [*readers]:
      for document in itertools.islice(reader, 1):
        if document is not None and document.text:
          yield document.text
        break
      else:
        readers.remove(reader)
