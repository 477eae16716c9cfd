"""How a person's mistake is told: one clear line, with the gin key.

Level 0: standard library only, so that any file may use it.
"""

import difflib
import math
import types
from collections.abc import Iterable, Mapping
from typing import Any


class UserError(ValueError):
  """A mistake in what the user gave, not in this code.

  The command line prints its message as one line and exits with code 2;
  every other exception is a bug and keeps its traceback.
  """


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
  return good and math.isfinite(value)


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


def check_counts(owner: str, value: Any, names: tuple[str, ...]) -> None:
  """Raises UserError unless some attributes are positive ints."""
  for name in names:
    count = getattr(value, name)
    good = type(count) is int and count > 0
    require(good, f'{owner}.{name}', count, 'must be a positive int')


def check_kinds(owner: str, value: Any, kinds: Mapping[str, Any]) -> None:
  """Raises UserError unless some attributes are of their classes.

  Args:
    owner: name of the class in gin.
    value: has the attributes.
    kinds: attribute to class, or to `Class | None`.
  """
  for name, kind in kinds.items():
    found = getattr(value, name)
    told = str(kind) if isinstance(kind, types.UnionType) else kind.__name__
    told = told.removesuffix(' | None').rpartition('.')[2]
    must = f'must be {told}(...), in gin @{told}()'
    require(isinstance(found, kind), f'{owner}.{name}', found, must)
