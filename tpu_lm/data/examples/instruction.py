"""Instructions with their answers, through templates."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from tpu_lm.checks import require
from tpu_lm.data.document import BadRecord
from tpu_lm.data.examples.fields import (
  check_template,
  fill,
  template_fields,
  top_level,
  value_at,
)


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One instruction and one answer; the loss is on the answer alone.

  A template is text with the record's fields in braces. The defaults are the
  field names and headings of Alpaca (Taori et al. 2023).

  Attributes:
    prompts: templates of what is read. The first one is used whose fields
      are all there and not empty, so one that needs an optional field comes
      before one that does without.
    answer: template of what is predicted. Where its fields are all empty there
      is nothing to learn from the record.
  """

  prompts: tuple[str, ...] = (
    '### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n',
    '### Instruction:\n{instruction}\n\n### Response:\n',
  )
  answer: str = '{output}'

  whole: ClassVar[bool] = True
  masked: ClassVar[bool] = True

  def __post_init__(self):
    require(
      isinstance(self.prompts, tuple) and len(self.prompts) > 0,
      'Instruction.prompts',
      self.prompts,
      'must be a tuple of templates (one alone is written with a comma)',
    )
    for prompt in self.prompts:
      check_template('Instruction.prompts', prompt)
    check_template('Instruction.answer', self.answer)

  @property
  def fields(self) -> tuple[str, ...]:
    """The keys of the record that the templates name."""
    templates = (*self.prompts, self.answer)
    return top_level(*(f for t in templates for f in template_fields(t)))

  def pieces(self, record: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """What is read, then what is predicted; see `Example`."""
    answer = fill(self.answer, record)
    if not any(value_at(record, f) for f in template_fields(self.answer)):
      return []
    for prompt in self.prompts:
      if all(value_at(record, field) for field in template_fields(prompt)):
        return [(fill(prompt, record), False), (answer, True)]
    needed = ' or '.join(
      '{' + ', '.join(template_fields(prompt)) + '}' for prompt in self.prompts
    )
    raise BadRecord(f'a prompt needs {needed}: missing or empty')
