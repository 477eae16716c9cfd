import os
import pathlib
import random
import subprocess
import sys

import fsspec
import pytest

from tests.data.vocabularies.conftest import SIZE
from tpu_lm.checks import UserError
from tpu_lm.data.vocabularies import train
from tpu_lm.data.vocabularies.train import train_sentence_piece

ROOT = pathlib.Path(__file__).parents[3]
KINDS = ['unigram', 'bpe']


@pytest.mark.parametrize('kind', KINDS)
def test_another_process_gets_the_same_bytes(
  vocabularies, tmp_path, text, kind
):
  (tmp_path / 'text').write_text(text, newline='')
  script = (
    'import pathlib, sys\n'
    'from tpu_lm.data.vocabularies.train import train_sentence_piece\n'
    "text = pathlib.Path('text').read_bytes().decode()\n"
    f"train_sentence_piece([text], 'again', {SIZE}, '{kind}')\n"
  )
  done = subprocess.run(
    [sys.executable, '-c', script],
    cwd=tmp_path,
    env={**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), *sys.path])},
    check=True,
    capture_output=True,
    text=True,
  )
  made = pathlib.Path(vocabularies[kind].path)
  assert (tmp_path / 'again.model').read_bytes() == made.read_bytes()
  assert {file.name for file in tmp_path.iterdir()} == {'text', 'again.model'}
  # Two lines, and none of the trainer's own.
  first, last = done.stderr.splitlines()
  assert first.startswith(
    f'again.model: training {kind}, 400 tokens, on 0.1 MB'
  )
  assert last.startswith('again.model: done')


@pytest.mark.parametrize('kind', KINDS)
def test_numbers_are_as_promised(vocabularies, kind):
  vocabulary = vocabularies[kind]
  assert (vocabulary.pad, vocabulary.end, vocabulary.size) == (0, 1, SIZE)
  assert vocabulary.encode(['\n'])[0].tolist() == [3 + 10]
  assert len(vocabulary.encode(['2026'])[0]) >= 4


@pytest.mark.parametrize('kind', KINDS)
def test_spaces_come_back_where_training_saw_none(tmp_path, kind):
  bases = [''.join(random.Random(0).choices('ACGT', k=9000))]
  vocabulary = train_sentence_piece(bases, tmp_path / 'dna', 280, kind)
  for text in 'A C', ' ', '\u2581 ':
    assert vocabulary.decode(vocabulary.encode([text])[0]) == text


@pytest.mark.parametrize('kind', KINDS)
def test_too_little_text_is_told_with_the_largest_size(tmp_path, kind):
  with pytest.raises(UserError, match=r'has pieces for \d+ at most') as error:
    train_sentence_piece(['some words'] * 9, tmp_path / 'x', 1000, kind)
  most = int(str(error.value).split('pieces for ')[1].split()[0])
  found = train_sentence_piece(['some words'] * 9, tmp_path / 'x', most, kind)
  assert found.size == most
  with pytest.raises(UserError, match='at most'):
    train_sentence_piece(['some words'] * 9, tmp_path / 'y', most + 1, kind)


def test_too_many_characters_are_told(tmp_path):
  letters = ''.join(map(chr, range(0x4E00, 0x4E00 + 300)))
  with pytest.raises(
    UserError, match=r'261 tokens is too small: .* 560 already'
  ):
    train_sentence_piece([letters], tmp_path / 'x', 261)


@pytest.mark.parametrize('texts', [[], [''], ['\n\n']])
def test_no_text_is_told(tmp_path, texts):
  with pytest.raises(UserError, match='there is no text'):
    train_sentence_piece(texts, tmp_path / 'x', SIZE)
  assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
  'change',
  [
    {'size': 259},
    {'size': 300.5},
    {'size': '300'},
    {'kind': 'word'},
    {'sample_bytes': 0},
  ],
  ids=str,
)
def test_arguments_are_checked(tmp_path, text, change):
  (name,) = change
  arguments = {'texts': [text], 'prefix': tmp_path / 'x', 'size': SIZE}
  with pytest.raises(UserError, match=rf'train_sentence_piece\.{name}'):
    train_sentence_piece(**{**arguments, **change})


def test_an_error_in_the_texts_stays_what_it_is(tmp_path):
  def texts():
    yield 'a text'
    raise UserError('corpus.jsonl, line 3: not JSON')

  with pytest.raises(UserError, match=r'^corpus\.jsonl, line 3: not JSON$'):
    train_sentence_piece(texts(), tmp_path / 'x', SIZE)


def test_another_model_is_not_overwritten(tmp_path, text):
  first = train_sentence_piece([text], tmp_path / 'x', SIZE, 'bpe')
  before = pathlib.Path(first.path).stat().st_mtime_ns
  train_sentence_piece([text], tmp_path / 'x', SIZE, 'bpe')
  with pytest.raises(UserError, match=r'x\.model is there already and differs'):
    train_sentence_piece([text], tmp_path / 'x', SIZE + 1, 'bpe')
  assert pathlib.Path(first.path).stat().st_mtime_ns == before


def test_it_is_written_to_object_storage(text):
  made = train_sentence_piece([text], 'memory://new/folder/x', SIZE, 'bpe')
  assert made.path == 'memory://new/folder/x.model'
  assert fsspec.filesystem('memory').exists('/new/folder/x.model')
  assert made.decode(made.encode(['some text'])[0]) == 'some text'


def test_only_the_sample_is_read(tmp_path, text):
  read = []

  def texts():
    for line in text.splitlines():
      read.append(len(line.encode()))
      yield line

  train_sentence_piece(texts(), tmp_path / 'x', SIZE, sample_bytes=20_000)
  assert sum(read[:-1]) <= 20_000 < sum(read) < 30_000


def test_long_lines_are_cut_without_loss():
  texts = ['ü ' * 30_000, '漢' * 30_000, 'x' * 8_193, 'a' * 8_191 + ' b']
  for text in texts:
    lines = [*train._lines(text)]
    assert b''.join(lines).decode() == text
    assert len(lines) > 1
    assert all(
      len(line) <= train.LINE_BYTES and line.decode() for line in lines
    )
