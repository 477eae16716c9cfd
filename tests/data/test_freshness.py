"""Stores of files: built once, built anew when something changed."""

import functools
import re
from pathlib import Path

import numpy as np
import pytest

from tests.data.texts import (
  files_of,
  make_folder,
  train_sentence_piece,
  write_lines,
)
from tpu_lm.checks import UserError
from tpu_lm.data.corpus import Corpus
from tpu_lm.data.examples.text import Text
from tpu_lm.data.sources.files import Files
from tpu_lm.data.vocabularies.sentence_piece import SentencePiece


@pytest.fixture
def folder(tmp_path):
  return make_folder(tmp_path)


def change_text(folder):
  write_lines(folder / 'a.jsonl', [{'text': 'other'}])
  return {}


def add_file(folder):
  write_lines(folder / 'c.jsonl', [{'text': 'more'}])
  return {}


def remove_file(folder):
  (folder / 'b.jsonl').unlink()
  return {}


@pytest.mark.parametrize(
  ('change', 'reason'),
  [
    (change_text, 'a.jsonl has changed'),
    (add_file, 'c.jsonl is new'),
    (remove_file, 'b.jsonl is gone'),
    (lambda _: {'example': Text(whole=True)}, 'Files.example has changed'),
    (
      lambda _: {'validation_path': None, 'validation_fraction': 0.01},
      'Files.validation_path has changed',
    ),
    (lambda _: {'on_error': 'skip'}, 'Files.on_error has changed'),
    (
      lambda folder: {'vocabulary': train_sentence_piece(folder / '../v')},
      'the vocabulary is SentencePiece.*, was bytes',
    ),
  ],
)
def test_a_change_makes_a_new_store(folder, tmp_path, capsys, change, reason):
  stores = str(tmp_path / 'stores')
  make = functools.partial(Corpus, store_dir=stores)
  first = make(files=(files_of(folder),)).open('texts', 'train')
  told = capsys.readouterr().err
  assert 'texts/train: done' in told
  assert 'built anew' not in told
  again = make(files=(files_of(folder),)).open('texts', 'train')
  assert again.fingerprint == first.fingerprint
  assert capsys.readouterr().err == ''
  fields = change(folder)
  vocabulary = fields.pop('vocabulary', None)
  corpus = make(files=(files_of(folder, **fields),), vocabulary=vocabulary)
  second = corpus.open('texts', 'train')
  told = capsys.readouterr().err
  assert 'texts/train is built anew: ' in told
  assert re.search(reason, told)
  assert second.directory != first.directory
  assert corpus.open('texts', 'train').directory == second.directory
  assert capsys.readouterr().err == ''


def test_the_same_model_elsewhere_is_the_same_vocabulary(
  folder, tmp_path, capsys
):
  model = train_sentence_piece(tmp_path / 'one.model')
  (tmp_path / 'two.model').write_bytes((tmp_path / 'one.model').read_bytes())
  moved = SentencePiece(str(tmp_path / 'two.model'))
  stores = str(tmp_path / 'stores')
  for vocabulary in (model, moved):
    corpus = Corpus(
      files=(files_of(folder),), store_dir=stores, vocabulary=vocabulary
    )
    store = corpus.open('texts', 'train')
    assert store.vocabulary_size == model.size
  assert capsys.readouterr().err.count('done') == 1


@pytest.mark.parametrize('content', [None, '{"a', '{"unknown": 1}'])
def test_a_damaged_record_of_what_it_was_built_from_is_told(
  folder, tmp_path, content
):
  corpus = Corpus(files=(files_of(folder),), store_dir=str(tmp_path / 'stores'))
  path = Path(corpus.open('texts', 'train').directory) / 'dependencies.json'
  path.unlink()
  if content is not None:
    path.write_text(content)
  with pytest.raises(UserError, match=r'dependencies\.json is missing or dam'):
    corpus.open('texts', 'train')


def test_a_storage_that_fails_is_not_an_empty_one(folder, monkeypatch):
  corpus = Corpus(files=(files_of(folder),))

  def fail(patterns):
    raise ConnectionError('reset by peer')

  monkeypatch.setattr('tpu_lm.data.sources.listing.list_files', fail)
  with pytest.raises(ConnectionError):
    corpus.recipe('texts', 'train').header()


def test_a_store_without_its_files_is_used(folder, tmp_path, capsys):
  stores = str(tmp_path / 'stores')
  store = Corpus(files=(files_of(folder),), store_dir=stores).open(
    'texts', 'train'
  )
  for path in folder.iterdir():
    path.unlink()
  folder.rmdir()
  capsys.readouterr()
  elsewhere = Corpus(files=(files_of(tmp_path / 'no'),), store_dir=stores)
  assert elsewhere.open('texts', 'train').fingerprint == store.fingerprint
  assert 'is not on this machine' in capsys.readouterr().err


def test_a_path_mistyped_is_told_though_there_is_a_store(folder, tmp_path):
  stores = str(tmp_path / 'stores')
  Corpus(files=(files_of(folder),), store_dir=stores).open('texts', 'train')
  mistyped = Corpus(files=(files_of(tmp_path / 'txets'),), store_dir=stores)
  with pytest.raises(UserError, match=r'there is no file .*txets'):
    mistyped.open('texts', 'train')


def test_a_storage_out_of_reach_is_no_reason_to_build(
  folder, tmp_path, capsys, monkeypatch
):
  import fsspec

  with fsspec.open('memory://reach/a.jsonl', 'wb') as file:
    file.write((folder / 'a.jsonl').read_bytes())
  files = Files('texts', 'memory://reach', 'memory://reach')
  corpus = Corpus(files=(files,), store_dir=str(tmp_path / 'stores'))
  store = corpus.open('texts', 'train')
  capsys.readouterr()

  def refuse(url):
    raise ImportError('its package is not installed')

  monkeypatch.setattr(fsspec.core, 'url_to_fs', refuse)
  assert corpus.open('texts', 'train').directory == store.directory
  assert 'memory://reach/**/*.* is not on this' in capsys.readouterr().err


def test_stores_and_files_in_object_storage(folder, capsys):
  import fsspec

  for name in ('a.jsonl', 'b.jsonl'):
    with fsspec.open(f'memory://recipe/{name}', 'wb') as file:
      file.write((folder / name).read_bytes())
  corpus = Corpus(
    files=(Files('texts', 'memory://recipe', 'memory://recipe'),),
    store_dir='memory://recipe_stores/',
  )
  store = corpus.open('texts', 'train')
  assert corpus.folder('texts') == 'memory://recipe_stores/texts'
  assert store.num_documents == 3
  local = Corpus(files=(files_of(folder),), store_dir=str(folder / '../s'))
  assert local.open('texts', 'train').fingerprint == store.fingerprint
  capsys.readouterr()
  assert corpus.open('texts', 'train').fingerprint == store.fingerprint
  assert corpus.expand('texts') == {'texts': 1}
  assert capsys.readouterr().err == ''
  with fsspec.open('memory://recipe/b.jsonl', 'wb') as file:
    file.write(b'{"text": "other"}\n')
  assert corpus.open('texts', 'train').num_documents == 3
  assert 'b.jsonl has changed' in capsys.readouterr().err
  np.testing.assert_array_equal(
    corpus.open('texts', 'train').document(2),
    [*(b + 3 for b in b'other'), 1],
  )
