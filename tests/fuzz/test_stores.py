"""Token stores with a broken file: the tokens of before, or one line."""

import json

import numpy as np
import pytest
from hypothesis import strategies

from tests.data.helpers import tiny_store
from tests.fuzz.mutations import (
  amounts,
  broken,
  broken_json,
  fuzz,
  listing,
  told,
)
from tpu_lm.data.corpus import Corpus
from tpu_lm.data.layout import Layout
from tpu_lm.data.rows import open_rows
from tpu_lm.data.validation import validation_batches

TEXTS = [f'document {i} of a few words' for i in range(40)]
LOSSES = [[i % 3 == 0] * (len(text) + 1) for i, text in enumerate(TEXTS)]


def use(corpus, layout):
  """Opens a store as a run does, and reads all of it."""
  store = corpus.open('words', 'train')
  validation_batches(corpus, 'words', 8, 4, layout)
  rows = open_rows(store, layout, 0, 'words', None, corpus.special_tokens)
  rows.read(np.arange(rows.rows_per_epoch))
  store.loss(0, store.num_tokens)
  return [store.document(i) for i in range(store.num_documents)]


@pytest.fixture(params=['cut', 'whole'])
def corpus(request, tmp_path):
  whole = request.param == 'whole'
  for split in ('train', 'validation'):
    losses = LOSSES if whole else None
    tiny_store(tmp_path, 'words', TEXTS, split, whole=whole, losses=losses)
  return Corpus(store_dir=str(tmp_path))


@amounts(200)
@pytest.mark.parametrize(
  'name',
  [
    'manifest.json',
    'dependencies.json',
    'documents.bin',
    'tokens-00000-000.bin',
  ],
)
def test_files(corpus, name, examples, tmp_path):
  path = tmp_path / 'words' / 'train-tiny' / name
  valid = path.read_bytes()
  layout = Layout(32)

  def check(value):
    if not isinstance(value, bytes):
      value = json.dumps(value).encode()
    path.write_bytes(value)
    before = listing(tmp_path)
    told(use, corpus, layout)
    assert listing(tmp_path) == before

  check(valid)
  ways = [broken(valid)]
  if name.endswith('.json'):
    ways.append(broken_json(json.loads(valid)))
  fuzz(check, strategies.one_of(ways), examples)
