"""Example formats: from a record to pieces of text, one format a file."""

from collections.abc import Mapping
from typing import Any, Protocol


class Example(Protocol):
  """What a record of a source looks like, and what is learned from it.

  A format is a frozen dataclass that can be pickled and hashed. A field is
  named by its key; `a.b` is field `b` of field `a`, and `a.0` the first of
  a list.

  The pieces of a record are encoded one by one, so that a token is either
  predicted or not, and a prompt has the same tokens in training as when a
  model is asked to go on from it. The end token is added after the last piece
  and predicted. Where inputs and targets go to different networks (an encoder
  and a decoder), the inputs are the pieces before the first predicted one.

  Attributes:
    whole: whether the record is packed whole: never cut between rows.
    masked: whether some of its tokens carry no loss.
  """

  whole: bool
  masked: bool

  @property
  def fields(self) -> tuple[str, ...]:
    """Keys of the record that it may use; an optional one may be missing."""
    ...

  def pieces(self, record: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """Takes the text out of a record.

    Args:
      record: keys to values, as read from a file.

    Returns:
      Pieces of text in order, each with whether it is predicted. No pieces,
      or only empty ones, where the record holds nothing to learn.

    Raises:
      BadRecord: a field is missing or of the wrong kind; the text says which.
    """
    ...
