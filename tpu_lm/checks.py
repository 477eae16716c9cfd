"""How a person's mistake is told: one clear line, with the gin key.

Level 0: standard library only, so that any file may use it.
"""

import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any


def one_line(text: str) -> str:
  """The lines of a library's message, one after another."""
  return ' '.join(filter(None, map(str.strip, text.splitlines())))


class UserError(ValueError):
  """A mistake in what the user gave, not in this code.

  The command line prints its message and exits with code 2; every other
  exception is a bug and keeps its traceback. The message becomes one line,
  whatever a library, a path or a name in it holds.
  """

  def __init__(self, message: str):
    super().__init__(one_line(message))


def require(condition: bool, key: str, value: Any, expected: str) -> None:
  """Raises `UserError` unless `condition` holds.

  Args:
    condition: what must be true.
    key: the gin key of the value, such as `AdamW.b1`.
    value: the value as given.
    expected: what was expected, such as `must be in [0, 1)`.
  """
  if not condition:
    raise UserError(f'{key} = {value!r}: {expected}')


def is_number(value: Any) -> bool:
  """Whether `value` is a finite int or float; a bool is neither."""
  good = isinstance(value, int | float) and not isinstance(value, bool)
  try:
    return good and math.isfinite(value)
  except OverflowError:  # an int that no float holds
    return False


def check_number(
  key: str,
  value: Any,
  *,
  least: float = -math.inf,
  above: float = -math.inf,
  below: float = math.inf,
  most: float = math.inf,
) -> None:
  """Raises `UserError` unless `value` is a finite number within the bounds."""
  good = is_number(value) and above < value < below and least <= value <= most
  bounds = {'at least': least, 'above': above, 'below': below, 'at most': most}
  told = ' and '.join(
    f'{word} {bound}' for word, bound in bounds.items() if math.isfinite(bound)
  )
  require(good, key, value, f'must be a number {told}')


def check_all(key: str, values: Any, kind: type, expected: str) -> None:
  """Raises `UserError` unless `values` is a tuple or list of one kind."""
  good = isinstance(values, tuple | list)
  good = good and all(isinstance(value, kind) for value in values)
  require(good, key, values, f'must be a tuple of {expected}')


def check_kinds(owner: str, value: Any, kinds: Mapping[str, Any]) -> None:
  """Raises `UserError` unless attributes are of the types that they must be.

  Args:
    owner: the class that the keys begin with.
    value: whose attributes they are.
    kinds: a class, or `class | None`, by the attribute's name.
  """
  for name, kind in kinds.items():
    told = [_told(one) for one in getattr(kind, '__args__', (kind,))]
    found = getattr(value, name)
    good = isinstance(found, kind)
    require(good, f'{owner}.{name}', found, f'must be {" or ".join(told)}')


def _told(kind: type) -> str:
  """A type, as a person would write one of it in gin."""
  words = {bool: 'True or False', str: 'a string', type(None): 'None'}
  return words.get(kind) or f'{kind.__name__}(...), in gin @{kind.__name__}()'


def nearest(name: str, names: Iterable[str]) -> str:
  """A suggestion to append to an error about an unknown `name`.

  Returns:
    ' Did you mean: a, b?' with up to three close names, else ' Known: ...'
    with up to twelve of all names, else ''.
  """
  names = sorted(set(names))
  close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
  if close:
    return f' Did you mean: {", ".join(close)}?'
  if names:
    more = ', ...' if len(names) > 12 else ''
    return f' Known: {", ".join(names[:12])}{more}'
  return ''


def read_fields(kind: type, value: Any) -> Any:
  """Makes a dataclass of a JSON object, whose values must be of its types.

  Args:
    kind: the dataclass; each field of it is annotated with what JSON has.
    value: what was read.

  Raises:
    TypeError: it is no object, has other keys, or a value of another type.
  """
  if not isinstance(value, Mapping):
    raise TypeError(f'{kind.__name__} is no object')
  made = kind(**value)
  for name, hint in typing.get_type_hints(kind).items():
    if not fits(getattr(made, name), hint):
      raise TypeError(f'{kind.__name__}.{name} is of another type')
  return made


def fits(value: Any, hint: Any) -> bool:
  """Whether a JSON value is of an annotated type; true is no int."""
  origin, inner = typing.get_origin(hint), typing.get_args(hint)
  if hint is Any:
    return True
  if hint is float:
    return type(value) is float or is_number(value)
  if origin is types.UnionType:
    return any(fits(value, one) for one in inner)
  if origin is list:
    return type(value) is list and all(fits(one, inner[0]) for one in value)
  if origin is dict:
    return type(value) is dict and all(
      fits(one, of) for item in value.items() for one, of in zip(item, inner)
    )
  return type(value) is hint


def check_counts(owner: str, value: Any, names: tuple[str, ...]) -> None:
  """Raises UserError unless some attributes are positive ints."""
  for name in names:
    count = getattr(value, name)
    good = type(count) is int and count > 0
    require(good, f'{owner}.{name}', count, 'must be a positive int')
