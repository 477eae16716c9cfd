import json
import pathlib

import pytest

from tpu_lm.checks import UserError
from tpu_lm.data.document import BadRecord
from tpu_lm.data.examples.chat import Chat

FILE = (
  pathlib.Path(__file__)
  .parents[4]
  .joinpath('shared', 'data', 'instruct', 'fastchat_dummy_conversation.json')
)
SHORT = {'user': 'U: {content}\n', 'assistant': 'A: {content}\n'}
SHARE = Chat(
  messages='conversations',
  role='from',
  content='value',
  turns={'human': 'USER: {content} ', 'gpt': 'ASSISTANT: {content}</s>'},
  answers=('gpt',),
)


def chat(*turns):
  return {'messages': [{'role': r, 'content': c} for r, c in turns]}


def predicted(pieces):
  return [text for text, flag in pieces if flag]


def test_the_loss_is_on_the_answer_and_its_closing():
  record = chat(('user', 'Hi'), ('assistant', 'Ho'))
  assert Chat(turns=SHORT).pieces(record) == [
    ('U: Hi\nA: ', False),
    ('Ho\n', True),
  ]


def test_several_turns():
  example = Chat(turns={**SHORT, 'system': '{content}\n\n'}, begin='<s>')
  record = chat(
    ('system', 'Be brief.'),
    ('user', 'Hi'),
    ('assistant', 'Ho'),
    ('user', 'And?'),
    ('user', 'Well?'),
    ('assistant', ''),
    ('user', 'Bye'),
  )
  assert example.pieces(record) == [
    ('<s>Be brief.\n\nU: Hi\nA: ', False),
    ('Ho\n', True),
    ('U: And?\nU: Well?\nA: ', False),
    ('\n', True),
  ]


def test_the_default_is_chat_markup_language():
  pieces = Chat().pieces(chat(('user', 'Hi {x}'), ('assistant', 'Ho')))
  assert pieces == [
    (
      '<|im_start|>user\nHi {x}<|im_end|>\n<|im_start|>assistant\n',
      False,
    ),
    ('Ho<|im_end|>\n', True),
  ]


def test_answers_of_several_roles():
  turns = {**SHORT, 'tool': 'T: {content}\n'}
  example = Chat(turns=turns, answers=('assistant', 'tool'))
  record = chat(('user', 'a'), ('tool', 'b'), ('assistant', 'c'))
  assert predicted(example.pieces(record)) == ['b\n', 'c\n']


@pytest.mark.parametrize(
  'record, why',
  [
    ({}, "field 'messages' is NoneType, not a list"),
    ({'messages': 'Hi'}, "field 'messages' is str, not a list"),
    ({'messages': ['Hi']}, "message 0 of 'messages' is str, not a dict"),
    (chat(('user', 'Hi'), ('assistant', None)), "message 1 .*'content'"),
    (chat(('user', [{'type': 'text'}])), 'message 0 .* is list, not text'),
    (chat(('asistant', 'Ho')), "role 'asistant' .* Did you mean: assistant"),
    ({'messages': [{'from': 'user'}]}, "message 0 .* no field 'role'"),
  ],
)
def test_broken_conversations_are_told(record, why):
  with pytest.raises(BadRecord, match=why):
    Chat().pieces(record)


@pytest.mark.parametrize(
  'bad, key',
  [
    ({'messages': ''}, 'messages'),
    ({'role': 1}, 'role'),
    ({'content': None}, 'content'),
    ({'turns': {}}, 'turns'),
    ({'turns': {'user': 'U:'}}, 'turns'),
    ({'turns': {'user': '{content}{content}'}}, 'turns'),
    ({'turns': {'user': '{name}: {content}'}}, 'turns'),
    ({'answers': 'assistant'}, 'answers'),
    ({'answers': ('robot',)}, 'answers'),
    ({'begin': 1}, 'begin'),
  ],
)
def test_wrong_values_name_their_key(bad, key):
  with pytest.raises(UserError, match=rf'Chat\.{key}'):
    Chat(**bad)


@pytest.mark.skipif(not FILE.is_file(), reason=f'needs {FILE}')
def test_real_conversations():
  records = json.loads(FILE.read_text())
  for record in records:
    pieces = SHARE.pieces(record)
    answers = [
      m['value'] for m in record['conversations'] if m['from'] == 'gpt'
    ]
    assert predicted(pieces) == [answer + '</s>' for answer in answers]
    assert pieces[0][0].endswith(' ASSISTANT: ') and not pieces[0][1]
