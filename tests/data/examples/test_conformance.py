"""What every example format promises; a new one adds a line to FORMATS."""

import pickle

import numpy as np
import pytest

from tpu_lm.data.document import BadRecord, make_documents
from tpu_lm.data.examples.chat import Chat
from tpu_lm.data.examples.instruction import Instruction
from tpu_lm.data.examples.pair import Pair, ReversedPair
from tpu_lm.data.examples.template import Template
from tpu_lm.data.examples.text import Text


class Letters:
  """A vocabulary of code points."""

  end = 0

  def encode(self, texts):
    return [np.array([ord(c) for c in text], np.int32) for text in texts]


MESSAGES = [
  {'role': 'user', 'content': 'Two and two?'},
  {'role': 'assistant', 'content': 'Four.'},
]
# A format, a record of it, and a record that holds nothing to learn.
FORMATS = [
  (Text(), {'text': 'Über U+2028:\u2028.', 'url': 'x'}, {'text': ''}),
  (Text('body.0', whole=True), {'body': ['a', 'b']}, {'body': ['']}),
  (Template('{a}: {b}'), {'a': 'x', 'b': 'y'}, {'a': '', 'b': ''}),
  (
    Pair(),
    {'inputs': 'Hund', 'targets': 'dog'},
    {'inputs': 'x', 'targets': ''},
  ),
  (
    ReversedPair('a', 'b'),
    {'a': 'ein alter Hund', 'b': 'an old dog'},
    {'a': 'x', 'b': ''},
  ),
  (
    Instruction(),
    {'instruction': 'Say a.', 'output': 'a', 'input': None},
    {'instruction': 'Say nothing.', 'output': ''},
  ),
  (Chat(), {'messages': MESSAGES}, {'messages': MESSAGES[:1]}),
]
every_format = pytest.mark.parametrize(
  'example, record, empty', FORMATS, ids=[repr(f[0])[:20] for f in FORMATS]
)


@every_format
def test_a_document_is_its_pieces_and_the_end(example, record, empty):
  pieces = example.pieces(record)
  [document] = make_documents([pieces], Letters(), example.masked)
  assert document.text == ''.join(text for text, _ in pieces)
  assert document.tokens[-1] == 0
  assert ''.join(map(chr, document.tokens[:-1])) == document.text
  flags = [flag for text, flag in pieces for _ in text] + [True]
  if example.masked:
    assert document.loss.tolist() == flags
    assert not all(flags)
  else:
    assert document.loss is None and all(flags)


@every_format
def test_a_record_with_nothing_to_learn_is_no_document(example, record, empty):
  pieces = example.pieces(empty)
  assert list(make_documents([pieces], Letters(), example.masked)) == [None]


@every_format
def test_only_the_named_fields_are_used(example, record, empty):
  assert isinstance(example.fields, tuple)
  part = {key: record[key] for key in example.fields if key in record}
  assert example.pieces(part) == example.pieces(record)
  with pytest.raises(BadRecord):
    example.pieces({'unrelated': 'x'})
  for field in part:
    with pytest.raises(BadRecord, match=field):
      example.pieces({**record, field: 7})


@every_format
def test_a_format_travels_to_other_processes(example, record, empty):
  copy = pickle.loads(pickle.dumps(example))
  assert copy == example and hash(copy) == hash(example)
  assert isinstance(copy.whole, bool) and isinstance(copy.masked, bool)
  assert copy.whole or not copy.masked
