"""Files of records in every format: documents, or one line with the place."""

import collections
import json

import pytest

from tests.data.sources import made
from tests.fuzz.mutations import (
  amounts,
  broken,
  broken_json,
  fuzz,
  listing,
  told,
)
from tpu_lm.data.examples.chat import Chat
from tpu_lm.data.examples.instruction import Instruction
from tpu_lm.data.examples.pair import Pair
from tpu_lm.data.examples.template import Template
from tpu_lm.data.examples.text import Text
from tpu_lm.data.recipe import FilesRecipe
from tpu_lm.data.vocabularies.bytes import Bytes

FORMATS = (
  'a.txt',
  'a.jsonl',
  'a.jsonl.gz',
  'a.jsonl.xz',
  'a.jsonl.zst',
  'list.json',
  'a.csv',
  'a.parquet',
  'a.arrow',
  'a.tfrecord',
  'json.tfrecord.gz',
  'a.array_record',
)
TURNS = [
  {'role': 'user', 'content': 'Hi'},
  {'role': 'assistant', 'content': 'Ho'},
]
EXAMPLES = {
  'chat': (Chat(), {'messages': TURNS, 'id': 1}),
  'instruction': (
    Instruction(),
    {'instruction': 'Add.', 'input': '1 2', 'output': '3'},
  ),
  'pair': (Pair(), {'inputs': 'a b', 'targets': 'c', 'more': {'x': [1.5]}}),
  'template': (Template('{a.b.0} {c}'), {'a': {'b': ['text']}, 'c': 'more'}),
  'text': (Text(), {'text': 'words', 'meta': {'a': [None]}}),
}


def documents(files):
  """What a store of the files would hold."""
  recipe = FilesRecipe(files, 'train', Bytes())
  counts = collections.Counter()
  return [
    document
    for shard in range(len(recipe.shards()))
    for document in recipe.documents(shard, counts)
  ]


@amounts(60)
@pytest.mark.parametrize('on_error', ['fail', 'skip'])
@pytest.mark.parametrize('name', FORMATS)
def test_formats(name, on_error, examples, tmp_path):
  path = tmp_path / name
  valid = {**made.every_format(tmp_path), 'a.txt': made.ODD.encode()}[name]
  files = made.files(path, on_error=on_error)

  def check(data):
    path.write_bytes(data)
    before = listing(tmp_path)
    told(documents, files)
    assert listing(tmp_path) == before

  check(valid)
  fuzz(check, broken(valid), examples)


@amounts(60)
@pytest.mark.parametrize('name', ['a.jsonl', 'a.json'])
@pytest.mark.parametrize('kind', EXAMPLES)
def test_records(kind, name, examples, tmp_path):
  example, record = EXAMPLES[kind]
  path = tmp_path / name
  files = made.files(path, example=example)
  single = name == 'a.json'

  def check(value):
    path.write_text(json.dumps([value] if single else value))
    told(documents, files)

  check(record)
  fuzz(check, broken_json(record), examples)
