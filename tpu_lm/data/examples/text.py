"""Plain text: every token is predicted."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from tpu_lm.checks import require
from tpu_lm.data.document import BadRecord
from tpu_lm.data.examples.fields import check_field, text_at, top_level


@dataclasses.dataclass(frozen=True)
class Text:
  """A document in one field.

  Attributes:
    field: the field that holds the text.
    whole: whether a document is packed whole into a row. When False (most
      often right) documents are laid end to end and cut into full rows.
  """

  field: str = 'text'
  whole: bool = False

  masked: ClassVar[bool] = False

  def __post_init__(self):
    check_field('Text.field', self.field)
    require(
      isinstance(self.whole, bool), 'Text.whole', self.whole, 'must be a bool'
    )

  @property
  def fields(self) -> tuple[str, ...]:
    """The key of the record that holds the text."""
    return top_level(self.field)

  def pieces(self, record: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """One piece, predicted; see `Example`."""
    try:
      return [(text_at(record, self.field), True)]
    except BadRecord as error:
      raise BadRecord(f'{error}; Text.field names the one to read') from None
