"""Conversations of several turns."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from tpu_lm.checks import nearest, require
from tpu_lm.data.document import BadRecord
from tpu_lm.data.examples.fields import (
  check_field,
  check_template,
  text_at,
  top_level,
  value_at,
)

_CONTENT = '{content}'


def _chat_markup_language() -> dict[str, str]:
  return {
    role: f'<|im_start|>{role}\n{_CONTENT}<|im_end|>\n'
    for role in ('system', 'user', 'assistant')
  }


@dataclasses.dataclass(frozen=True)
class Chat:
  r"""A list of messages; the loss is on the answers alone.

  Of an answer's turn the content is predicted, and what closes the turn, so
  that a model learns to stop; what opens the turn is read. Turns after the last
  answer are left out: nothing is learned from them. For
  `{'role': 'user', 'content': 'Hi'}, {'role': 'assistant', 'content': 'Ho'}`
  with `turns = {'user': 'U: {content}\n', 'assistant': 'A: {content}\n'}`:

      U: Hi\nA: Ho\n
      ----------++++   + is predicted, - is read

  The default turns are ChatML, whose end of a turn no ordinary text holds. For
  ShareGPT records: messages = 'conversations', role = 'from', content =
  'value', turns with the keys 'human' and 'gpt', answers = ('gpt',).

  Attributes:
    messages: the field that holds the list.
    role: the key of a message that says whose it is.
    content: the key of a message that holds its text.
    turns: for each role the template of its turn, with `{content}` once.
    answers: the roles whose messages are predicted.
    begin: put before the first turn.
  """

  messages: str = 'messages'
  role: str = 'role'
  content: str = 'content'
  turns: Mapping[str, str] = dataclasses.field(
    default_factory=_chat_markup_language, hash=False
  )
  answers: tuple[str, ...] = ('assistant',)
  begin: str = ''

  whole: ClassVar[bool] = True
  masked: ClassVar[bool] = True

  def __post_init__(self):
    for name in ('messages', 'role', 'content'):
      check_field(f'Chat.{name}', getattr(self, name))
    require(
      isinstance(self.turns, Mapping) and len(self.turns) > 0,
      'Chat.turns',
      self.turns,
      'must be a dict of role to template',
    )
    for role, turn in self.turns.items():
      key = f'Chat.turns[{role!r}]'
      check_template(key, turn)
      require(
        turn.count(_CONTENT) == 1 and turn.count('{') == turn.count('}') == 1,
        key,
        turn,
        'must hold {content} once, and no other brace',
      )
    require(
      isinstance(self.answers, tuple) and len(self.answers) > 0,
      'Chat.answers',
      self.answers,
      'must be a tuple of roles (one alone is written with a comma)',
    )
    for role in self.answers:
      require(
        role in self.turns,
        'Chat.answers',
        self.answers,
        f'{role!r} has no template in Chat.turns',
      )
    require(
      isinstance(self.begin, str), 'Chat.begin', self.begin, 'must be a string'
    )

  @property
  def fields(self) -> tuple[str, ...]:
    """The key of the record that holds the messages."""
    return top_level(self.messages)

  def pieces(self, record: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """What is read and what is predicted, in turns; see `Example`."""
    messages = value_at(record, self.messages)
    if not isinstance(messages, list | tuple):
      kind = type(messages).__name__
      raise BadRecord(f'field {self.messages!r} is {kind}, not a list')
    read, pieces = self.begin, []
    for number, message in enumerate(messages):
      role, opening, content, closing = self._turn(number, message)
      if role in self.answers:
        pieces += [(read + opening, False), (content + closing, True)]
        read = ''
      else:
        read += opening + content + closing
    return pieces

  def _turn(self, number: int, message: Any) -> tuple[str, str, str, str]:
    """The role of a message, and its turn's opening, content and closing."""
    where = f'message {number} of {self.messages!r}'
    if not isinstance(message, Mapping):
      raise BadRecord(f'{where} is {type(message).__name__}, not a dict')
    try:
      role = text_at(message, self.role)
      content = text_at(message, self.content)
    except BadRecord as error:
      raise BadRecord(f'{where}: {error}') from None
    if role not in self.turns:
      told = nearest(role, map(str, self.turns))
      raise BadRecord(f'{where}: role {role!r} is not in Chat.turns.{told}')
    opening, closing = self.turns[role].split(_CONTENT)
    return role, opening, content, closing
