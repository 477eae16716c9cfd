"""A document: the tokens of one record, and which of them are predicted."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

Pieces = Sequence[tuple[str, bool]]


class BadRecord(ValueError):
  """A record lacks what its example format needs; the text says what."""


@dataclasses.dataclass(frozen=True)
class Document:
  """One record, tokenised.

  Attributes:
    tokens: int[n], the end token included.
    text: what it was made of, pieces joined; for counts of bytes and the
      contamination check.
    loss: bool[n], True where the token is predicted with loss; None where
      all are.
  """

  tokens: np.ndarray
  text: str
  loss: np.ndarray | None = None


def make_documents(
  records: Sequence[Pieces], vocabulary: Any, masked: bool
) -> Iterator[Document | None]:
  """Tokenises records, all at once: vocabularies are faster on many texts.

  Args:
    records: the pieces of text of each, with whether they are predicted.
    vocabulary: encodes them, see `vocabularies/`.
    masked: whether some pieces are not predicted.

  Yields:
    Each record's document, closed by the end token, which is predicted; None
    where a record holds no text.
  """
  encoded = iter(vocabulary.encode([text for p in records for text, _ in p]))
  end = np.array([vocabulary.end], np.int32)
  for pieces in records:
    parts = [*itertools.islice(encoded, len(pieces)), end]
    text = ''.join(text for text, _ in pieces)
    if not text:
      yield None
      continue
    loss = None
    if masked:
      flags = [*(predicted for _, predicted in pieces), True]
      loss = np.repeat(flags, [len(part) for part in parts])
    yield Document(np.concatenate(parts), text, loss)
