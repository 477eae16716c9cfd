"""Numbers and lists as people read them; one way for the whole report."""

import math
from collections.abc import Sequence

NOTHING = '–'


def loss(value: float | None) -> str:
  """Nats a token, to the thousandth."""
  return NOTHING if value is None else f'{value:.3f}'


def signed(value: float | None) -> str:
  """A difference of losses, with its sign."""
  if value is None:
    return NOTHING
  text = f'{value:+.3f}'.replace('-', '−')
  return '0.000' if float(f'{value:.3f}') == 0 else text


def rate(value: float | None) -> str:
  """A learning rate: 3e-4, 1.65e-3, 0."""
  if value is None or not math.isfinite(value):
    return NOTHING
  if not value:
    return '0'
  mantissa, exponent = f'{value:.2e}'.split('e')
  return f'{float(mantissa):g}e{int(exponent)}'


def count(value: float | None) -> str:
  """A large number with its unit: 614k, 1.2M, 3.4B."""
  if value is None:
    return NOTHING
  for size, unit in ((1e12, 'T'), (1e9, 'B'), (1e6, 'M'), (1e3, 'k')):
    if value >= 0.9995 * size:
      return f'{value / size:.3g}{unit}'
  return f'{value:.0f}'


def percent(value: float | None) -> str:
  """A share, in percent."""
  return NOTHING if value is None else f'{value:.0%}'


def several(number: int, thing: str) -> str:
  """'one phase', '15 phases'."""
  return f'one {thing}' if number == 1 else f'{number:,} {thing}s'


def listed(words: Sequence[str]) -> str:
  """'a', 'a and b', 'a, b and c'; of more than eight the first six."""
  words = list(words)
  if len(words) > 8:
    words = [*words[:6], f'{len(words) - 6} more']
  if len(words) < 2:
    return ''.join(words)
  return f'{", ".join(words[:-1])} and {words[-1]}'


def shortened(text: str, length: int) -> str:
  """The text, its middle left out where it is longer than `length`."""
  if len(text) <= length:
    return text
  front = (length - 1) // 2
  return f'{text[:front]}…{text[len(text) - (length - 1 - front) :]}'
