"""Real files of every kind, where they lie beside the project."""

import collections
import csv
import gzip
import json
import lzma
import pathlib

import pytest

from tpu_lm.data.examples.chat import Chat
from tpu_lm.data.examples.pair import Pair
from tpu_lm.data.examples.text import Text
from tpu_lm.data.sources.files import Files

DATA = pathlib.Path(__file__).parents[4] / 'shared' / 'data'

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f'needs {DATA}')


def read(path, example):
  """The pieces of all records, in order."""
  files = Files('real', str(path), str(path), example=example)
  counts = collections.Counter()
  pieces = [
    [text for text, _ in example.pieces(record)]
    for shard in files.shards('train')
    for _, record in files.records('train', shard, counts)
  ]
  assert not counts
  return pieces


@pytest.mark.parametrize(
  'name', ['en/c4_en.validation.jsonl.xz', 'de/drama_de.valid.jsonl.xz']
)
def test_json_lines(name):
  with lzma.open(DATA / name, 'rt', encoding='utf-8', newline='\n') as lines:
    texts = [[json.loads(line)['text']] for line in lines]
  assert read(DATA / name, Text()) == texts


def test_tfrecord_and_array_record_hold_c4():
  folder = DATA / 'en' / 'loader_formats'
  arrays = read(folder / 'c4-validation.array_record-00000-of-00002', Text())
  name = 'local_c4_builder-validation.tfrecord-00000-of-00002'
  records = read(folder / name, Text())
  assert len(arrays) == len(records) == 100
  assert all(len(text) > 50 for (text,) in [*arrays, *records])
  assert arrays[0][0].startswith('The woman who died after falling')
  assert sorted(arrays) == sorted(records)


@pytest.mark.parametrize(
  ('name', 'inputs', 'targets'),
  [
    ('eval/e2e_nlg.devset.csv.gz', 'mr', 'ref'),
    ('domain/smiles_tox21.csv.gz', 'mol_id', 'smiles'),
  ],
)
def test_comma_separated(name, inputs, targets):
  with gzip.open(DATA / name, 'rt', encoding='utf-8', newline='') as lines:
    expected = [
      [row[inputs] + '\n', row[targets]] for row in csv.DictReader(lines)
    ]
  assert read(DATA / name, Pair(inputs, targets)) == expected


def test_a_list_of_conversations():
  path = DATA / 'instruct' / 'fastchat_dummy_conversation.json'
  items = json.loads(path.read_text())
  chat = Chat(
    messages='conversations',
    role='from',
    content='value',
    turns={'human': '{content}\n', 'gpt': '{content}\n'},
    answers=('gpt',),
  )
  pieces = read(path, chat)
  assert len(pieces) == len(items)
  for item, parts in zip(items, pieces):
    said = [turn['value'] + '\n' for turn in item['conversations']]
    assert ''.join(parts) == ''.join(said)


def test_texts():
  path = DATA / 'en' / 'tinyshakespeare.txt'
  assert read(path, Text()) == [[path.read_text(encoding='utf-8')]]
