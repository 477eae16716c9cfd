"""Turns the bytes of a record into keys and values."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tpu_lm.data.document import BadRecord
from tpu_lm.data.sources.tf_example import parse_example


def parse_json(data: bytes, fields: Iterable[str]) -> dict[str, Any]:
  """Parses a JSON object.

  NaN and Infinity are read as Python writes them; of keys that occur twice the
  last counts.

  Args:
    data: UTF-8.
    fields: those whose text is checked.

  Returns:
    All of the object.

  Raises:
    BadRecord: not UTF-8, not JSON, not an object, or a field holds half of a
      surrogate pair, which is no text.
  """
  try:
    text = data.decode()
    record = json.loads(text)
  except UnicodeDecodeError as error:
    raise BadRecord(f'not UTF-8 at byte {error.start}') from error
  except json.JSONDecodeError as error:
    raise BadRecord(f'not JSON: {error.msg} (character {error.pos})') from error
  except RecursionError as error:
    raise BadRecord('not JSON that can be read: nested too deeply') from error
  except ValueError as error:  # an integer of thousands of digits
    raise BadRecord(f'not JSON that can be read: {error}') from error
  if '\\ud' in text or '\\uD' in text:
    check_text(record, fields)
  return check_object(record)


def parse_serialized(data: bytes, fields: Iterable[str]) -> dict[str, Any]:
  """Parses a record of a TFRecord or ArrayRecord file.

  Args:
    data: a JSON object if it begins with a brace, as no tf.train.Example can;
      else a tf.train.Example, see `parse_example`.
    fields: those that are needed.

  Raises:
    BadRecord: it is neither.
  """
  if data[:1] == b'{':
    return parse_json(data, fields)
  return parse_example(data, fields)


def check_object(value: Any) -> dict[str, Any]:
  """Returns a JSON value that is an object; else raises BadRecord."""
  if isinstance(value, dict):
    return value
  kind = type(value).__name__
  raise BadRecord(f'a JSON value of type {kind}, not an object')


def check_text(record: Any, fields: Iterable[str]) -> None:
  """Raises BadRecord if text in fields of a record can't be UTF-8."""
  if not isinstance(record, Mapping):
    return
  for field in fields:
    value = record.get(field)
    try:
      if isinstance(value, str):
        value.encode()
      else:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
      found = error.object[error.start]
      raise BadRecord(
        f'field {field!r} holds half of a surrogate pair, {found!a}'
      ) from error
