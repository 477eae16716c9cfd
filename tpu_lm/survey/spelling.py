"""Tokens as text, one by one."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

Decode = Callable[[np.ndarray], str]

END = '∎'  # the end of a document
_UNFINISHED = '\ufffd'
_LONGEST = 8  # tokens that may make up one character
_SIGNS = {'\n': '↵', '\t': '⇥', '\r': '␍'}


def spell(
  decode: Decode | None,
  tokens: Sequence[int],
  end: int,
  special: Mapping[int, str] | None = None,
) -> list[str]:
  """Spells each token so that a row of them reads as the text.

  A character made of several tokens (bytes of an emoji) is spelled by the
  last of them, the others as ''. White space other than a space and characters
  that would move a terminal's cursor are spelled by signs or by number.

  Args:
    decode: the text of int[n] tokens; None where no vocabulary is at hand,
      and tokens are spelled by number.
    tokens: of a row.
    end: the token that ends a document.
    special: tokens that are no text, and what they are called.

  Returns:
    As many strings as there are tokens.
  """
  signs = {number: f'<{name}>' for number, name in (special or {}).items()}
  signs[end] = END
  if decode is None:
    return [signs.get(token, f'{token} ') for token in tokens]
  spelled: list[str] = []
  before: list[int] = []  # finished tokens: what comes may depend on them
  group: list[int] = []

  def text_of(numbers: list[int]) -> str:
    return decode(np.array(numbers, np.int32)) if numbers else ''

  for token in tokens:
    spelled.append('')
    if token in signs:
      spelled[-1] = _plain(text_of(group)) + signs[token]
      before, group = [], []
      continue
    group.append(token)
    text = text_of(before + group)[len(text_of(before)) :]
    if not text.endswith(_UNFINISHED) or len(group) == _LONGEST:
      spelled[-1] = _plain(text)
      before, group = group, []
  if group and spelled:
    text = text_of(before + group)[len(text_of(before)) :]
    spelled[-1] += _plain(text)
  return spelled


def _plain(text: str) -> str:
  return ''.join(
    _SIGNS.get(one) or (one if one.isprintable() else f'\\x{ord(one):02x}')
    for one in text
  )
