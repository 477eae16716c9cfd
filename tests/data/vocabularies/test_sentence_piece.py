import os
import pathlib

import fsspec
import numpy as np
import pytest

from tests.data.vocabularies.conftest import foreign_model
from tpu_lm.checks import UserError
from tpu_lm.data.vocabularies.sentence_piece import SentencePiece

REAL = pathlib.Path(__file__).parents[4] / 'shared' / 'data' / 'tokenizers'
MODELS = [
  'sp_test_ja_model.model',
  'sp_test_model.model',
  't5_seqio_test_sentencepiece.model',
]


@pytest.mark.parametrize('name', MODELS)
def test_tokens_are_those_of_the_library(name):
  if not (REAL / name).is_file():
    pytest.skip(f'needs {REAL / name}')
  import sentencepiece

  library = sentencepiece.SentencePieceProcessor(str(REAL / name))
  model = SentencePiece(str(REAL / name))
  texts = [
    'Hello world, 12 e\u0301 ﬁ\n\t x',
    'こんにちは世界',
    ' a  b ',
    '</s>',
  ]
  texts.append(' '.join(texts) * 300)
  for text, tokens in zip(texts, model.encode(texts), strict=True):
    assert tokens.tolist() == library.encode(text)
    assert model.decode(tokens) == library.decode(library.encode(text))
  assert model.size == library.get_piece_size()
  assert model.end == library.eos_id()


def test_a_missing_file_is_named(tmp_path):
  model = SentencePiece(str(tmp_path / 'gone.model'))
  with pytest.raises(UserError, match=r'path = .*gone.model.*no such file'):
    model.encode(['text'])
  with pytest.raises(UserError, match='no such file'):
    model.describe()


@pytest.mark.parametrize('content', [b'', b'no model', b'\n\xff' * 40])
def test_another_file_is_no_model(tmp_path, content):
  (tmp_path / 'x.model').write_bytes(content)
  with pytest.raises(UserError, match='no SentencePiece model'):
    SentencePiece(str(tmp_path / 'x.model')).end  # noqa: B018


def test_an_unknown_kind_of_storage_is_told():
  with pytest.raises(UserError, match='Protocol not known: nosuch'):
    SentencePiece('nosuch://bucket/x.model').describe()


@pytest.mark.parametrize('path', ['', None, pathlib.Path('x')])
def test_the_path_is_checked(path):
  with pytest.raises(UserError, match=r'SentencePiece\.path'):
    SentencePiece(path)


def test_it_is_read_from_object_storage(vocabularies):
  local = vocabularies['unigram']
  data = pathlib.Path(local.path).read_bytes()
  fsspec.filesystem('memory').pipe_file('/bucket/x.model', data)
  remote = SentencePiece('memory://bucket/x.model')
  np.testing.assert_array_equal(
    remote.encode(['some text'])[0], local.encode(['some text'])[0]
  )
  assert remote.describe()['hash'] == local.describe()['hash']


def test_a_replaced_file_is_seen(vocabularies, tmp_path):
  path, new = tmp_path / 'x.model', tmp_path / 'new'
  path.write_bytes(pathlib.Path(vocabularies['unigram'].path).read_bytes())
  model = SentencePiece(str(path))
  assert 'unigram' in model.describe()['description']
  new.write_bytes(pathlib.Path(vocabularies['bpe'].path).read_bytes())
  os.replace(new, path)
  assert 'bpe' in model.describe()['description']


def test_a_model_without_an_end_is_refused(tmp_path, text):
  model = foreign_model(tmp_path / 'x.model', text, eos_id=-1)
  with pytest.raises(UserError, match='has no end token'):
    model.end  # noqa: B018


def test_an_end_that_users_defined_is_not_found_in_texts(tmp_path, text):
  options = {'user_defined_symbols': ['</s>', '<sep>']}
  model = foreign_model(tmp_path / 'x.model', text, **options)
  (tokens,) = model.encode(['a</s>b<sep>c'])
  assert model.end not in tokens
  assert '<sep>' in [model._model.processor.id_to_piece(int(t)) for t in tokens]


def test_a_line_feed_is_one_token(vocabularies):
  for name in 'unigram', 'bpe':
    assert len(vocabularies[name].encode(['\n'])[0]) == 1
