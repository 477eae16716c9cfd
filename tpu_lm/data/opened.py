"""The stores and rows of a phase's sources."""

from collections.abc import Mapping

from tpu_lm.checks import UserError
from tpu_lm.data.corpus import Corpus
from tpu_lm.data.layout import Layout
from tpu_lm.data.manifest import Manifest
from tpu_lm.data.mixing import Mixture
from tpu_lm.data.row_reader import Rows
from tpu_lm.data.rows import fit_targets, open_rows
from tpu_lm.data.store import TokenStore


class Sources:
  """The stores and rows of a phase's sources, opened when they are needed."""

  def __init__(
    self, corpus: Corpus, mixture: Mixture, layout: Layout, seed: int
  ):
    """Settles the layout; arguments and errors as of `BatchBuilder`."""
    self._corpus, self._mixture, self._seed = corpus, mixture, seed
    self._stores: dict[str, TokenStore] = {}
    self._rows: dict[str, Rows] = {}
    own = (task for name in mixture.sources for task in corpus.expand(name))
    self._layout = fit_targets(
      layout, ((mixture.noise_of(task), self.store(task)) for task in own)
    )

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
        self._mixture.noise_of(source),
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
