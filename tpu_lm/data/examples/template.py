"""A text made of several fields: every token is predicted."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from tpu_lm.checks import require
from tpu_lm.data.examples.fields import (
  check_template,
  fill,
  template_fields,
  top_level,
  value_at,
)


@dataclasses.dataclass(frozen=True)
class Template:
  """A document out of a template, such as '{title}\\n\\n{body}'.

  Attributes:
    template: text with the record's fields in braces. Where they are all
      empty there is no document; where one is missing the record is bad.
    whole: as of `Text`.
  """

  template: str
  whole: bool = False

  masked: ClassVar[bool] = False

  def __post_init__(self):
    check_template('Template.template', self.template)
    require(
      isinstance(self.whole, bool),
      'Template.whole',
      self.whole,
      'must be a bool',
    )

  @property
  def fields(self) -> tuple[str, ...]:
    """The keys of the record that the template names."""
    return top_level(*template_fields(self.template))

  def pieces(self, record: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """One piece, predicted; see `Example`."""
    text = fill(self.template, record)
    names = template_fields(self.template)
    return [(text, True)] if any(value_at(record, n) for n in names) else []
