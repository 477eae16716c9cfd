"""Valid files and lines, broken a little; and what may come of reading them.

A test gives `fuzz` a check and a strategy; it runs once with few examples, and
once with many where tests marked slow are run. Examples are the same every
time.
"""

import copy
import math
import pathlib
import re

import hypothesis
import pytest
from hypothesis import strategies

from tpu_lm.checks import UserError

MANY = 500
ODD = (
  b'\0',
  b'\xff',
  b'\xed\xa0\x80',  # half of a surrogate pair
  b'\n',
  b'"',
  b"'",
  b'[',
  b'}',
  b'%',
  b'@',
  b'/',
  b'-',
  b'0' * 30,
  b'9' * 5000,
  b'[' * 3000,
  'ü\u2028'.encode(),
)
WRONG = (
  None,
  True,
  -1,
  0,
  3,
  2**63,
  10**400,
  0.5,
  math.nan,
  math.inf,
  '',
  'x',
  '\ud800',
  'a\nb',
  '../..',
  '/',
  [],
  [None],
  [[]],
  {},
  {'x': None},
)


def amounts(few: int):
  """Runs a test with a few examples, and with many where slow tests run."""
  many = pytest.param(MANY, marks=pytest.mark.slow, id='many')
  return pytest.mark.parametrize(
    'examples', [pytest.param(few, id='few'), many]
  )


def fuzz(check, strategy, examples: int) -> None:
  """Calls `check` with so many values of a strategy."""

  def run(value):
    check(value)

  hypothesis.settings(
    max_examples=examples,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
    # What is found is small already, and shrinking takes minutes.
    phases=[hypothesis.Phase.generate],
  )(hypothesis.given(strategy)(run))()


def told(call, *arguments, **options):
  """What a call gives; None where it refuses in one line."""
  try:
    return call(*arguments, **options)
  except UserError as error:
    text = str(error)
    assert text.strip() and '\n' not in text, text
    return None


def listing(folder: pathlib.Path) -> dict[str, bytes | None]:
  """All below a folder: files with what is in them, folders with None."""
  return {
    str(path): path.read_bytes() if path.is_file() else None
    for path in sorted(folder.rglob('*'))
  }


@strategies.composite
def broken(draw, data: bytes) -> bytes:
  """Bytes with one to three changes: some are cut, flipped, put in, swapped."""
  for _ in range(draw(strategies.integers(1, 3))):
    start, stop = sorted(
      draw(strategies.integers(0, max(len(data), 1))) for _ in range(2)
    )
    match draw(strategies.integers(0, 7)):
      case 0:
        data = data[:start]
      case 1:
        byte = bytes([draw(strategies.integers(0, 255))])
        data = data[:start] + byte + data[start + 1 :]
      case 2:
        data = data[:start] + draw(strategies.sampled_from(ODD)) + data[start:]
      case 3:
        data = data[:start] + data[start + 1 + (stop - start) % 9 :]
      case 4:
        data = data[:start] + data[stop:]
      case 5:
        data = data[:start] + data[start:stop] * 2 + data[stop:]
      case 6:
        data = data[:start] + draw(strategies.binary(max_size=9)) + data[start:]
      case 7:
        lines = data.split(b'\n')
        a, b = start % len(lines), stop % len(lines)
        lines[a], lines[b] = lines[b], lines[a]
        data = b'\n'.join(lines)
  return data


@strategies.composite
def broken_text(draw, text: str) -> str:
  """Lines of `name = value` with one to three values or names exchanged."""
  lines = text.split('\n')
  settings = [i for i, line in enumerate(lines) if ' = ' in line]
  words = sorted(set(re.findall(r"[@%]?[\w./]+(?:\(\))?|'[^']*'", text)))
  values = [*map(repr, WRONG), *words, "{'a': 1", '(1,)', '@', '%x', '1 2', 'x']
  for _ in range(draw(strategies.integers(1, 3))):
    at = draw(strategies.sampled_from(settings))
    name, _, value = lines[at].partition(' = ')
    match draw(strategies.integers(0, 3)):
      case 0:
        value = draw(strategies.sampled_from(values))
      case 1:
        name = draw(strategies.sampled_from(words))
      case 2:
        other = draw(strategies.sampled_from(settings))
        value = lines[other].partition(' = ')[2]
      case 3:
        old = draw(strategies.sampled_from(words))
        new = draw(strategies.sampled_from(values))
        value = value.replace(old, new, 1)
    lines[at] = f'{name} = {value}'
  return '\n'.join(lines)


@strategies.composite
def broken_json(draw, value):
  """A JSON value with one to three of its parts replaced, lost or added."""
  value = copy.deepcopy(value)
  for _ in range(draw(strategies.integers(1, 3))):
    places = [*_places(value)]
    if not places:
      return draw(strategies.sampled_from(WRONG))
    holder, key = draw(strategies.sampled_from(places))
    match draw(strategies.integers(0, 3)):
      case 0:
        del holder[key]
      case 1:
        other, from_key = draw(strategies.sampled_from(places))
        holder[key] = copy.deepcopy(other[from_key])
      case 2:
        wrong = draw(strategies.sampled_from(WRONG))
        holder[key] = copy.deepcopy(wrong)  # it may be changed, too
      case 3 if isinstance(holder, dict):
        new = draw(strategies.sampled_from(['', 'x', 'a.b', '../x', '\ud800']))
        holder[new] = copy.deepcopy(holder[key])
      case 3:
        holder.insert(key, copy.deepcopy(holder[key]))
  return value


def _places(value):
  """(holder, key) of every part of a JSON value."""
  if isinstance(value, dict):
    items = [*value.items()]
  elif isinstance(value, list):
    items = [*enumerate(value)][:200]
  else:
    return
  for key, item in items:
    yield value, key
    yield from _places(item)
