"""The stores and rows of a phase's sources."""

import dataclasses
from collections.abc import Mapping

from tpu_lm.checks import UserError
from tpu_lm.data.corpus import Corpus
from tpu_lm.data.layout import Layout
from tpu_lm.data.manifest import Manifest
from tpu_lm.data.mixing import Mixture
from tpu_lm.data.noised import check_kind, targets_needed
from tpu_lm.data.row_reader import Rows
from tpu_lm.data.rows import USUAL, open_rows
from tpu_lm.data.store import TokenStore


def settled(corpus: Corpus, mixture: Mixture, layout: Layout) -> Layout:
  """Settles how long the rows of a decoder beside an encoder are.

  Where a layout leaves that open, it becomes what the mixture's own sources
  need at most: as many tokens as the noise makes of inputs of `layout.length`,
  and `layout.length` for whole examples. What is replayed or evaluated besides
  has to do with that.

  Raises:
    UserError: a source's noise is for another kind of model.
  """
  if not layout.two_sided or layout.target_length is not None:
    return layout
  needed = []
  for task in tasks_of(corpus, mixture):
    whole = corpus.open(task, 'train').manifest.whole
    noiser = mixture.noise_of(task, whole)
    if whole:
      needed.append(layout.length)
      continue
    noiser = noiser or USUAL[layout.kind]
    check_kind(noiser, layout)
    needed.append(targets_needed(noiser, layout.length))
  return dataclasses.replace(layout, target_length=max(needed))


def tasks_of(corpus: Corpus, mixture: Mixture) -> list[str]:
  """The tasks that a mixture draws from, replays left aside."""
  names = mixture.sources
  return list(dict.fromkeys(t for name in names for t in corpus.expand(name)))


class Sources:
  """The stores and rows of a phase's sources, opened when they are needed."""

  def __init__(
    self, corpus: Corpus, mixture: Mixture, layout: Layout, seed: int
  ):
    """Settles the layout; arguments and errors as of `BatchBuilder`."""
    self._corpus, self._mixture, self._seed = corpus, mixture, seed
    self._stores: dict[str, TokenStore] = {}
    self._rows: dict[str, Rows] = {}
    self._layout = settled(corpus, mixture, layout)

  def store(self, source: str) -> TokenStore:
    """The store of a source's training split."""
    if source not in self._stores:
      self._stores[source] = self._corpus.open(source, 'train')
    return self._stores[source]

  def rows(self, source: str) -> Rows:
    """The rows of a source, in the phase's layout and with its noise."""
    if source not in self._rows:
      store = self.store(source)
      self._rows[source] = open_rows(
        store,
        self._layout,
        self._seed,
        source,
        self._mixture.noise_of(source, store.manifest.whole),
        self._corpus.special_tokens,
      )
    return self._rows[source]


def check_one_vocabulary(stores: Mapping[str, TokenStore]) -> None:
  """Raises UserError unless all stores agree in what tokens mean."""
  first, *others = stores
  one = stores[first].manifest
  for name in others:
    other = stores[name].manifest
    if _identity(one) != _identity(other):
      raise UserError(
        f'{first} and {name} have different vocabularies and cannot be mixed:'
        f' {one.vocabulary_size} tokens {one.vocabulary},'
        f' {other.vocabulary_size} tokens {other.vocabulary}'
      )


def _identity(manifest: Manifest) -> tuple[str | None, int]:
  # The description has the name of the file, which says nothing.
  return manifest.vocabulary.get('hash'), manifest.vocabulary_size
