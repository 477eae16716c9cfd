"""Documents of files, by every vocabulary, and what a store records."""

import importlib
import json
import os
import pickle
import sys
from collections import Counter

import pytest

from tests.data.texts import (
  TEXTS,
  files_of,
  make_folder,
  make_tokenizer_json,
  train_sentence_piece,
  write_lines,
)
from tpu_lm.checks import UserError
from tpu_lm.data.examples.pair import Pair
from tpu_lm.data.recipe import FilesRecipe
from tpu_lm.data.sources.files import Files
from tpu_lm.data.vocabularies.bytes import Bytes


@pytest.fixture
def folder(tmp_path):
  return make_folder(tmp_path)


VOCABULARIES = {
  'bytes': lambda path: Bytes(),
  'sentence_piece': train_sentence_piece,
  'tokenizer_json': make_tokenizer_json,
}


@pytest.fixture(params=VOCABULARIES)
def vocabulary(request, tmp_path):
  return VOCABULARIES[request.param](tmp_path / 'vocabulary.json')


def documents_of(recipe):
  counts = Counter()
  found = []
  for shard in range(len(recipe.shards())):
    found += recipe.documents(shard, counts)
  return found, counts


def test_every_vocabulary_makes_documents(folder, vocabulary):
  recipe = FilesRecipe(files_of(folder), 'train', vocabulary)
  documents, counts = documents_of(recipe)
  assert not +counts
  assert [document.text for document in documents] == TEXTS
  for text, document in zip(TEXTS, documents):
    [expected] = vocabulary.encode([text])
    assert document.tokens.tolist() == [*expected.tolist(), vocabulary.end]
    assert document.loss is None
    assert recipe.decode(document.tokens) == text


def test_the_header_says_what_a_store_is(folder, vocabulary):
  header = FilesRecipe(files_of(folder), 'train', vocabulary).header()
  assert (header.task, header.split) == ('texts', 'train')
  assert header.vocabulary_size == vocabulary.size
  assert header.vocabulary == vocabulary.describe()
  assert not header.whole
  assert not header.masked
  recorded = header.dependencies
  assert [os.path.basename(path) for path in recorded.files] == [
    'a.jsonl',
    'b.jsonl',
  ]
  package = {
    'SentencePiece': {'sentencepiece'},
    'TokenizerJson': {'tokenizers'},
  }.get(type(vocabulary).__name__, set())
  assert set(recorded.packages) == package
  assert recorded.code == {}  # what is ours is told by RECIPE_FORMAT
  assert json.loads(json.dumps(recorded.definition)) == recorded.definition


def test_a_recipe_travels_to_other_processes(folder, vocabulary):
  recipe = FilesRecipe(files_of(folder), 'train', vocabulary)
  shards = recipe.shards()
  (folder / 'a0.jsonl').write_text('{"text": "came later"}\n')
  travelled = pickle.loads(pickle.dumps(recipe))
  assert travelled.shards() == shards
  documents, _ = documents_of(travelled)
  assert [document.text for document in documents] == TEXTS


def test_pairs_carry_loss_on_the_targets(folder):
  write_lines(folder / 'a.jsonl', [{'q': 'in', 'a': 'out'}])
  (folder / 'b.jsonl').unlink()
  pair = Pair('q', 'a', prefix='Q: ', separator='|')
  recipe = FilesRecipe(files_of(folder, example=pair), 'train', Bytes())
  header = recipe.header()
  assert header.whole
  assert header.masked
  [[document], _] = documents_of(recipe)
  assert document.text == 'Q: in|out'
  assert document.loss.tolist() == [False] * 6 + [True] * 4


def test_records_without_the_text_are_told_or_counted(folder):
  write_lines(folder / 'b.jsonl', [{'text': 'x'}, {'txt': 'y'}, {'text': ''}])
  recipe = FilesRecipe(files_of(folder), 'train', Bytes())
  with pytest.raises(UserError, match=r"b.jsonl, line 2: no field 'text'"):
    documents_of(recipe)
  skipping = files_of(folder, on_error='skip')
  documents, counts = documents_of(FilesRecipe(skipping, 'train', Bytes()))
  assert counts['bad'] == 1
  texts = [document and document.text for document in documents]
  assert texts == [*TEXTS[:2], 'x', None]  # None: the builder counts it


def test_the_code_of_a_foreign_example_format_is_recorded(
  folder, tmp_path, monkeypatch
):
  module = tmp_path / 'my_example.py'
  module.write_text(
    'import dataclasses\n'
    'from tpu_lm.data.examples.text import Text\n'
    '@dataclasses.dataclass(frozen=True)\n'
    'class Mine(Text):\n'
    '  pass\n'
  )
  monkeypatch.syspath_prepend(str(tmp_path))
  monkeypatch.setattr(sys, 'dont_write_bytecode', True)
  mine = importlib.import_module('my_example')
  files = files_of(folder, example=mine.Mine())
  recorded = FilesRecipe(files, 'train', Bytes()).header().dependencies
  assert set(recorded.code) == {'my_example'}
  assert recorded.definition['files']['example']['class'] == 'my_example.Mine'


def test_a_split_or_a_text_that_is_not_there(folder):
  with pytest.raises(UserError, match="texts has no split 'test'"):
    FilesRecipe(files_of(folder), 'test', Bytes())
  write_lines(folder / 'a.jsonl', [{'text': 'the only one'}])
  (folder / 'b.jsonl').unlink()
  few = Files('few', str(folder), validation_fraction=1e-9)
  with pytest.raises(UserError, match=r'Set Files.validation_path'):
    documents_of(FilesRecipe(few, 'validation', Bytes()))
  write_lines(folder / 'a.jsonl', [{'text': ''}])
  with pytest.raises(UserError, match='no record of train holds any text'):
    documents_of(FilesRecipe(few, 'train', Bytes()))
