"""Vocabularies: text to tokens and back; one kind a file.

What every kind keeps to (`tests/data/vocabularies/test_conformance.py`):

* No text becomes the end token, not even one that spells its name: only the
  builder of a document ends a document.
* Tokens depend on the text alone: nothing is cut off or drawn at random,
  however long the text is and whatever else is in the batch. Only a model's
  own normalisation may change a text.
* A vocabulary is a frozen dataclass of a few strings: it pickles small, and
  each process loads the model's file for itself when it first needs it.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Vocabulary(Protocol):
  """Text to tokens and back.

  Every method but the constructor raises `UserError` where the model's file
  is missing, can't be read or is of another kind.
  """

  @property
  def size(self) -> int:
    """Every token is below it."""

  @property
  def end(self) -> int:
    """The token that closes a document."""

  @property
  def pad(self) -> int:
    """The token that fills up rows; `end` where a model has none for it."""

  def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
    """Encodes texts, each by itself.

    Args:
      texts: any; an empty one has no tokens.

    Returns:
      int32[n] for each text, without an end token.

    Raises:
      UnicodeEncodeError: a text holds half of a surrogate pair, which is no
        character; JSON can carry such, UTF-8 can't.
    """

  def decode(self, tokens: np.ndarray) -> str:
    """Decodes int[n]; pad, end and unknown numbers give no text."""

  def describe(self) -> dict[str, str]:
    """'description', for people, and 'hash', 32 hexadecimal digits.

    Hashes are equal if and only if kind, model and end token are: wherever
    the model's file lies and whatever its name is.
    """
