"""JSON lines: awkward lines, line numbers, cuts anywhere."""

import collections
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.sources import made
from tpu_lm.checks import UserError
from tpu_lm.data.sources.json_lines import read
from tpu_lm.data.sources.parts import Part, Shard
from tpu_lm.data.sources.shards import make_shards

LINES = 1_000_000


def read_all(parts, fields=('text',)):
  """Records with their places, and what was told of broken ones."""
  told = []

  def bad(place, why):
    told.append(f'{place}: {why}')

  records = [item for part in parts for item in read(part, fields, bad)]
  return records, told


def read_data(tmp_path, data, name='a.jsonl', fields=('text',)):
  (tmp_path / name).write_bytes(data)
  records, told = read_all([Part(str(tmp_path / name))], fields)
  told = [line.removeprefix(f'{tmp_path / name}') for line in told]
  return [record for _, record in records], told


@pytest.mark.parametrize(
  ('data', 'texts'),
  [
    (b'{"text": "x"}', ['x']),
    (b'{"text": "x"}\n', ['x']),
    (b'{"text": "x"}\r\n{"text": "y"}\r\n', ['x', 'y']),
    (b'\n\n{"text": "x"}\n  \r\n\n', ['x']),
    (b'\xef\xbb\xbf{"text": "x"}\n', ['x']),
    (b'\xef\xbb\xbf\n{"text": "x"}\n', ['x']),
    (b'{"text": ""}\n', ['']),
    (b'{"text": "a\\u2028b\xe2\x80\xa9c\\u0000"}\n', ['a\u2028b\u2029c\0']),
    (b'{"text": "\\ud83d\\ude00 \\\\ud800"}\n', ['\U0001f600 \\ud800']),
    (b'{"text": "x", "score": NaN, "high": -Infinity}\n', ['x']),
    (b'{"text": "x", "text": "the last counts"}\n', ['the last counts']),
    (b'{"text": "x", "other": "\\ud800"}\n', ['x']),
    (b'{"text": 3}\n{"text": null}\n', [3, None]),
    (b'', []),
    (b'\n', []),
    (b'\xef\xbb\xbf', []),
  ],
)
def test_lines_that_are_read(data, texts, tmp_path):
  records, told = read_data(tmp_path, data)
  assert [record['text'] for record in records] == texts
  assert told == []


@pytest.mark.parametrize(
  ('line', 'why'),
  [
    (b'{"te', r'not JSON: .* \(character \d\)'),
    (b'{"text": "a\tb"}', 'not JSON: Invalid control character .*'),
    (b'{"text": "x"} {"text": "y"}', r'not JSON: Extra data \(character 14\)'),
    (b'{"text": "\xff"}', 'not UTF-8 at byte 10'),
    (b'{"text": "\xed\xa0\x80"}', 'not UTF-8 at byte 10'),
    (b'{"text": "a\\ud800b"}', "field 'text' holds half of a .* '.ud800'"),
    (b'{"text": {"a": ["\\uDFFF"]}}', "field 'text' holds half of a .*"),
    (b'[1]', 'a JSON value of type list, not an object'),
    (b'"text"', 'a JSON value of type str, not an object'),
    (b'["\\ud800"]', 'a JSON value of type list, not an object'),
    (b'[' * 100_000, 'not JSON that can be read: nested too deeply'),
    (b'{"text": ' + b'9' * 5000 + b'}', 'not JSON that can be read: .*limit.*'),
    ('{"text": "x"}'.encode('utf-16'), 'not UTF-8 at byte 0'),
  ],
)
def test_lines_that_are_broken(line, why, tmp_path):
  data = b'{"text": "x"}\n\n' + line + b'\n{"text": "z"}\n'
  records, told = read_data(tmp_path, data)
  texts = [record['text'] for record in records]
  assert texts[0] == 'x' and texts[-1] == 'z' and len(texts) == 2
  (message,) = told
  with pytest.raises(UserError, match=f', line 3: {why}'):
    raise UserError(message)


def test_a_list_of_objects_in_a_json_file(tmp_path):
  data = b'\xef\xbb\xbf\n [{"text": "x"}, 3,\n {"text": "\\ud800"}]'
  records, told = read_data(tmp_path, data, 'a.json')
  assert records == [{'text': 'x'}]
  assert [line[: len(', item 2')] for line in told] == [', item 2', ', item 3']
  _, told = read_data(tmp_path, b'[{"text": "x"},', 'a.json')
  assert len(told) == 1 and told[0].startswith(': not a list in JSON: ')
  # In .jsonl a line is never more than one record.
  _, told = read_data(tmp_path, b'[{"text": "x"}]', 'a.jsonl')
  assert told == [', line 1: a JSON value of type list, not an object']


def test_a_document_of_50_mb(tmp_path):
  text = 'All happy families are alike, ' * 1_666_667 + made.ODD
  data = made.json_lines(['before', text, 'behind'])
  assert len(data) > 50_000_000
  path = str(tmp_path / 'a.jsonl')
  Path(path).write_bytes(data)
  for parts in ([Part(path)], cut(path, len(data), 20 << 20)):
    records, told = read_all(parts)
    assert [record['text'] for _, record in records] == [
      'before',
      text,
      'behind',
    ]
    assert told == []


def test_a_broken_line_after_a_million(tmp_path):
  path = str(tmp_path / 'a.jsonl')
  line = b'{"text":"a short line"}\n'
  data = line * (LINES - 1) + b'{"text":"broken\n' + line * 9
  Path(path).write_bytes(data)
  last = cut(path, len(data), 1 << 20)[-1]
  records, told = read_all([last])
  assert told == [
    f'{path}, line {LINES}: not JSON: Unterminated string starting at'
    ' (character 8)'
  ]
  assert str(records[-1][0]) == f'{path}, line {LINES + 9}'
  source = made.files(path)
  with pytest.raises(UserError, match=rf'a.jsonl, line {LINES}: not JSON'):
    made.read(source)
  counts = collections.Counter()
  source = made.files(path, on_error='skip')
  shard = Shard((last,), 0)
  kept = [*source.records('train', shard, counts)]
  assert len(kept) == len(records) and counts == {'bad': 1}


def cut(path, size, target):
  return [
    part for shard in make_shards({path: size}, target) for part in shard.parts
  ]


lines = st.lists(
  st.one_of(
    st.sampled_from([b'', b' ', b'{"text": "', b'\xff', b'\r', b'[]']),
    st.text(max_size=30).map(lambda text: made.json_lines([text])[:-1]),
    st.text(max_size=9).map(lambda text: json.dumps({'text': text}).encode()),
  )
)


@given(lines=lines, target=st.integers(1, 99), end=st.booleans())
def test_any_cuts_give_the_same(lines, target, end):
  data = b'\n'.join(lines) + b'\n' * end
  with tempfile.TemporaryDirectory() as folder:
    path = f'{folder}/a.jsonl'
    Path(path).write_bytes(data)
    whole, whole_told = read_all([Part(path)])
    records, told = read_all(cut(path, len(data), target))
    expected = [(str(place), record) for place, record in whole]
    assert [(str(place), record) for place, record in records] == expected
    assert told == whole_told
    for place, record in expected:
      number = int(place.rsplit(' ', 1)[1])
      assert record == json.loads(data.split(b'\n')[number - 1])
