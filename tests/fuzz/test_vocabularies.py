"""Files of vocabularies: tokens of a text and back, or one line."""

import argparse
import gzip
import json
import pathlib

import pytest
from hypothesis import strategies

from tests.data.vocabularies import conftest
from tests.fuzz.mutations import (
  amounts,
  broken,
  broken_json,
  fuzz,
  listing,
  told,
)
from tpu_lm.data.vocabularies.sentence_piece import SentencePiece
from tpu_lm.data.vocabularies.tokenizer_json import TokenizerJson

TEXTS = ['The word \u00e4 is.', '', '12 \U0001f600 <pad>\n\tthe']


def use(vocabulary):
  """All that is asked of a vocabulary."""
  vocabulary.describe()
  encoded = vocabulary.encode(TEXTS)
  decoded = [vocabulary.decode(tokens) for tokens in encoded]
  assert 0 <= vocabulary.end < vocabulary.size
  assert 0 <= vocabulary.pad < vocabulary.size
  assert all(tokens.max(initial=0) < vocabulary.size for tokens in encoded)
  return decoded


@pytest.fixture(scope='module')
def files(tmp_path_factory):
  """Name to the bytes of a valid file."""
  text = pathlib.Path(argparse.__file__).read_text()[:20_000]
  folder = tmp_path_factory.mktemp('valid')
  model = conftest.train_sentence_piece([text], folder / 'a', 400)
  conftest.byte_level(folder / 'bpe.json', text)
  conftest.unigram_json(folder / 'unigram.json', text)
  conftest.word_json(folder / 'word.json')
  found = {path.name: path.read_bytes() for path in folder.glob('*.json')}
  found['unigram.json'] = gzip.decompress(found['unigram.json'])
  return {**found, 'a.model': pathlib.Path(model.path).read_bytes()}


@amounts(60)
def test_sentence_piece(files, examples, tmp_path):
  path = tmp_path / 'a.model'

  def check(data):
    path.write_bytes(data)
    before = listing(tmp_path)
    told(use, SentencePiece(str(path)))
    assert listing(tmp_path) == before

  check(files['a.model'])
  fuzz(check, broken(files['a.model']), examples)


@amounts(60)
@pytest.mark.parametrize('name', ['bpe.json', 'unigram.json', 'word.json'])
def test_tokenizer_json(files, name, examples, tmp_path):
  path = tmp_path / name
  end = '</s>' if name == 'unigram.json' else '<|endoftext|>'
  valid = json.loads(files[name])

  def check(value):
    if not isinstance(value, bytes):
      value = json.dumps(value).encode()
    path.write_bytes(value)
    before = listing(tmp_path)
    told(use, TokenizerJson(str(path), end))
    assert listing(tmp_path) == before

  check(valid)
  ways = broken_json(valid), broken(files[name]), broken(gzip.compress(b'{}'))
  fuzz(check, strategies.one_of(ways), examples)
