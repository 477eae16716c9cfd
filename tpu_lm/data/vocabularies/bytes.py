"""Bytes of UTF-8 as tokens (Xue et al. 2022, ByT5, arXiv:2105.13626)."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tpu_lm.data.vocabularies import model_file

SPECIAL = 3  # pad, end, unknown


@dataclasses.dataclass(frozen=True)
class Bytes:
  """Byte b is token b + 3, as in seqio's ByteVocabulary(extra_ids=0)."""

  @property
  def size(self) -> int:
    """259: 256 bytes and three special tokens."""
    return SPECIAL + 256

  @property
  def end(self) -> int:
    """1."""
    return 1

  @property
  def pad(self) -> int:
    """0."""
    return 0

  def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
    """See `Vocabulary.encode`."""
    return [
      np.frombuffer(text.encode(), np.uint8).astype(np.int32) + SPECIAL
      for text in texts
    ]

  def decode(self, tokens: np.ndarray) -> str:
    """See `Vocabulary.decode`; bytes that are no UTF-8 become U+FFFD."""
    tokens = np.asarray(tokens)
    known = tokens[(tokens >= SPECIAL) & (tokens < self.size)]
    return (known - SPECIAL).astype(np.uint8).tobytes().decode(errors='replace')

  def describe(self) -> dict[str, str]:
    """See `Vocabulary.describe`."""
    return {
      'description': f'bytes, {self.size} tokens',
      'hash': model_file.digest('bytes'),
    }
