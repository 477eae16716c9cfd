"""Text out of records: fields by name, and templates filled with them."""

import functools
import re
import string
from collections.abc import Mapping
from typing import Any

from tpu_lm.checks import UserError, require
from tpu_lm.data.document import BadRecord

_FIELD = re.compile(r'[^\s.{}[\]]+(\.[^\s.{}[\]]+)*')
_MOST_KEYS = 8  # named in a message


def check_field(key: str, value: Any) -> None:
  """Raises `UserError` unless `value` can name a field, as `a` or `a.b.0`."""
  require(
    isinstance(value, str) and value != '' and '' not in value.split('.'),
    key,
    value,
    "must be the name of a record's field, as 'text' or 'article.body'",
  )


def check_template(key: str, value: Any, least: int = 1) -> None:
  """Raises `UserError` unless `value` is a template with enough fields.

  Args:
    key: its gin key.
    value: text with fields in braces; a brace itself is written twice.
    least: how many fields it must have.
  """
  require(isinstance(value, str), key, value, 'must be a string')
  try:
    fields = template_fields(value)
  except ValueError as error:
    raise UserError(
      f'{key} = {value!r}: {error}. Write {{field}} for a field of the record,'
      ' and {{ or }} for a brace'
    ) from None
  require(
    len(fields) >= least, key, value, 'must hold a field, such as {output}'
  )


def template_fields(template: str) -> tuple[str, ...]:
  """The fields of a template in order; ValueError if it is not one."""
  return tuple(field for _, field in _parse(template) if field is not None)


def top_level(*fields: str) -> tuple[str, ...]:
  """The keys of the record that hold these fields, each once, in order."""
  return tuple(dict.fromkeys(field.split('.')[0] for field in fields))


def value_at(record: Any, field: str) -> Any:
  """The value of a field; None where it is missing or null."""
  value = record
  for step in field.split('.'):
    if isinstance(value, Mapping):
      value = value.get(step)
    elif isinstance(value, list | tuple) and step.isdecimal():
      value = value[int(step)] if int(step) < len(value) else None
    else:
      return None
  return value


def text_at(record: Mapping[str, Any], field: str) -> str:
  """The text of a field; BadRecord where there is none."""
  value = value_at(record, field)
  if isinstance(value, str):
    return value
  if value is not None:
    raise BadRecord(f'field {field!r} is {type(value).__name__}, not text')
  if field in record:
    raise BadRecord(f'field {field!r} is null')
  names = [repr(name) for name in list(record)[:_MOST_KEYS]]
  more = ', ...' if len(record) > _MOST_KEYS else ''
  raise BadRecord(f'no field {field!r} (it has {", ".join(names)}{more})')


def fill(template: str, record: Mapping[str, Any]) -> str:
  """A template with its fields' texts; BadRecord where one is missing."""
  return ''.join(
    literal if field is None else literal + text_at(record, field)
    for literal, field in _parse(template)
  )


@functools.cache
def _parse(template: str) -> tuple[tuple[str, str | None], ...]:
  """Literal texts, each with the field after it (None after the last)."""
  parts = []
  for literal, field, spec, conversion in string.Formatter().parse(template):
    if field is not None and (
      spec or conversion or not _FIELD.fullmatch(field)
    ):
      raise ValueError(f'{field!r} is no plain name of a field')
    parts.append((literal, field))
  return tuple(parts)
