"""What a store holds, in numbers."""

import dataclasses

import numpy as np

from tpu_lm.data.store import TokenStore


@dataclasses.dataclass(frozen=True)
class Facts:
  """One split of one source.

  Attributes:
    name: of the source.
    split: 'train', 'validation' or another.
    documents: how many, none of them empty.
    tokens: of all documents, end tokens included.
    text_bytes: of their text in UTF-8.
    lengths: i64[documents], tokens of each document.
    vocabulary: what people call it.
    whole: documents are packed whole, never cut between rows.
    masked: some tokens carry no loss.
    left_out: reason to number of documents or records.
  """

  name: str
  split: str
  documents: int
  tokens: int
  text_bytes: int
  lengths: np.ndarray
  vocabulary: str
  whole: bool
  masked: bool
  left_out: dict[str, int]

  @property
  def bytes_per_token(self) -> float | None:
    """Bytes of text for a token; None where the text's size is not known."""
    return self.text_bytes / self.tokens if self.text_bytes else None


def facts_of(store: TokenStore) -> Facts:
  """Reads a store's manifest and the lengths of its documents."""
  manifest = store.manifest
  size = f'{manifest.vocabulary_size:,} tokens'
  return Facts(
    name=manifest.task,
    split=manifest.split,
    documents=manifest.num_documents,
    tokens=manifest.num_tokens,
    text_bytes=manifest.num_bytes,
    lengths=np.diff(store.offsets),
    vocabulary=manifest.vocabulary.get('description', size),
    whole=manifest.whole,
    masked=manifest.masked,
    left_out={reason: n for reason, n in manifest.counts.items() if n},
  )


def length_bins(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Counts documents by length, in bins that double.

  Args:
    lengths: int[n], n and all of them at least 1.

  Returns:
    i64[b], the first length of each bin (powers of 2), and i64[b], how many
    documents are in it; neither end is empty.
  """
  # frexp gives exponents exactly, where logarithms may round.
  exponents = np.frexp(lengths.astype(np.float64))[1] - 1
  first = int(exponents.min())
  return 2 ** np.arange(
    first, int(exponents.max()) + 1, dtype=np.int64
  ), np.bincount(exponents - first)
