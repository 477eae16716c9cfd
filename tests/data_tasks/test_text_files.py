import gzip
import json
import lzma

import pytest

from tpu_lm.checks import UserError
from tpu_lm.data.corpus import Corpus
from tpu_lm.data.registry import load_seqio, text_files_task
from tpu_lm.data.sources import TextFiles

# Line separators that are no line ends, an emoji, tabs.
ODD = 'one\u2028two\u2029three\x0bfour\x85five \U0001f600\t.'


@pytest.fixture(scope='module', autouse=True)
def seqio():
  return load_seqio()


def read(files, split='train'):
  from data_tasks.text_files import read_texts

  return list(read_texts(files, split))


def lines(*texts, field='text'):
  records = [json.dumps({field: t}, ensure_ascii=False) for t in texts]
  return ('\n'.join(records) + '\n').encode()


def files(tmp_path, **fields):
  fields.setdefault('path', str(tmp_path))
  fields.setdefault('validation_path', fields['path'])
  return TextFiles('books', **fields)


def test_reads_every_kind_of_file(tmp_path):
  (tmp_path / 'sub').mkdir()
  (tmp_path / 'a.txt').write_bytes(ODD.encode() + b'\r\nsecond line\n')
  (tmp_path / 'b.jsonl').write_bytes(lines(ODD, 'b2').strip())
  (tmp_path / 'c.jsonl.gz').write_bytes(gzip.compress(lines(ODD, 'c2')))
  (tmp_path / 'sub/d.jsonl.xz').write_bytes(lzma.compress(lines(ODD, 'd2')))
  (tmp_path / 'ignored.md').write_text('ignored')
  expected = [ODD + '\r\nsecond line\n', ODD, 'b2', ODD, 'c2', ODD, 'd2']
  assert read(files(tmp_path)) == expected


def test_paths_may_be_files_and_globs(tmp_path):
  for name in 'abc':
    (tmp_path / f'{name}.txt').write_text(name)
  assert read(files(tmp_path, path=str(tmp_path / 'b.txt'))) == ['b']
  assert read(files(tmp_path, path=str(tmp_path / '[ac].txt'))) == ['a', 'c']


def test_another_field(tmp_path):
  (tmp_path / 'a.jsonl').write_bytes(lines('x', field='body'))
  assert read(files(tmp_path, text_field='body')) == ['x']


def test_documents_are_set_aside_by_their_text(tmp_path):
  texts = [f'document {n}' for n in range(400)]
  (tmp_path / 'a.jsonl').write_bytes(lines(*texts, *texts[:9]))
  source = TextFiles('books', str(tmp_path), validation_fraction=0.2)
  train, held_out = read(source), read(source, 'validation')
  assert not {*train} & {*held_out}
  assert {*train} | {*held_out} == {*texts}
  assert 50 < len(held_out) < 110
  (tmp_path / 'a.jsonl').rename(tmp_path / 'z.jsonl')
  assert read(source, 'validation') == held_out


def test_a_validation_path_of_its_own(tmp_path):
  for name in ('train', 'validation'):
    (tmp_path / name).mkdir()
    (tmp_path / name / 'a.txt').write_text(name)
  source = files(
    tmp_path,
    path=str(tmp_path / 'train'),
    validation_path=str(tmp_path / 'validation'),
  )
  assert read(source) == ['train']
  assert read(source, 'validation') == ['validation']


def test_a_store_is_built_and_kept_up_to_date(tmp_path, capsys):
  folder = tmp_path / 'books'
  folder.mkdir()
  (folder / 'a.txt').write_text('äb')
  source = files(folder)
  corpus = Corpus((), (source,), str(tmp_path / 'stores'))
  store = corpus.open('books', 'train')
  bytes_of_text = 'äb'.encode()
  assert store.tokens(0, 4).tolist() == [*(b + 3 for b in bytes_of_text), 1]
  assert corpus.expand('books') == {'books': 1}
  assert 'books/train: 0.0 MB in 1 files' in capsys.readouterr().err
  assert corpus.open('books', 'train').fingerprint == store.fingerprint
  assert capsys.readouterr().err == ''
  (folder / 'b.txt').write_text('more')
  assert corpus.open('books', 'train').num_documents == 2
  assert 'b.txt is new' in capsys.readouterr().err
  other = files(folder, path=str(folder / 'b.txt'))
  corpus = Corpus((), (other,), str(tmp_path / 'stores'))
  assert corpus.open('books', 'train').num_documents == 1
  assert 'TextFiles.path has changed' in capsys.readouterr().err


def test_a_store_without_its_files_is_used(tmp_path, capsys):
  folder = tmp_path / 'books'
  folder.mkdir()
  (folder / 'a.txt').write_text('text')
  stores = str(tmp_path / 'stores')
  store = Corpus((), (files(folder),), stores).open('books', 'train')
  (folder / 'a.txt').unlink()
  folder.rmdir()
  elsewhere = files(tmp_path / 'absent')
  again = Corpus((), (elsewhere,), stores).open('books', 'train')
  assert again.fingerprint == store.fingerprint
  assert 'is not on this machine' in capsys.readouterr().err


def test_it_is_a_task_of_seqio(tmp_path, seqio):
  (tmp_path / 'a.txt').write_text('text')
  task = text_files_task(files(tmp_path))
  assert isinstance(task, seqio.Task)
  examples = task.get_dataset(split='train', shuffle=False)
  assert len(list(examples)) == 1


@pytest.mark.parametrize(
  ('name', 'content', 'message'),
  [
    ('a.md', b'x', 'TextFiles books: there is no file .*/\\*.txt'),
    ('a.txt', b'ab\xff', r'a.txt: not UTF-8 at byte 2'),
    ('a.txt', b'', 'the train files hold no text'),
    ('a.jsonl', lines('x') + b'\xff', r'a.jsonl, line 2: not UTF-8 at byte 0'),
    ('a.jsonl', lines('x') + b'{"te', r'line 2: not JSON: .* at character \d'),
    ('a.jsonl', b'{"body": "x"}', "line 1: has no text under 'text'"),
    ('a.jsonl', b'[1]', "line 1: has no text under 'text'"),
    ('a.jsonl', b'{"text": 3}', "line 1: has no text under 'text'"),
    ('a.jsonl.gz', b'no gzip', r'a.jsonl.gz: damaged'),
    ('a.jsonl.gz', gzip.compress(lines('x'))[:-9], r'a.jsonl.gz: damaged'),
    ('a.jsonl.xz', b'no xz', r'a.jsonl.xz: damaged'),
    ('a.jsonl.xz', lzma.compress(lines('x'))[:-9], r'a.jsonl.xz: damaged'),
  ],
)
def test_bad_files_are_told_through_the_corpus(
  tmp_path, name, content, message
):
  folder = tmp_path / 'books'
  folder.mkdir()
  (folder / name).write_bytes(content)
  corpus = Corpus((), (files(folder),), str(tmp_path / 'stores'))
  with pytest.raises(UserError, match=message):
    corpus.open('books', 'train')


def test_other_suffixes_are_told(tmp_path):
  (tmp_path / 'a.md').write_text('x')
  with pytest.raises(UserError, match=r'a.md: must end in .txt'):
    read(files(tmp_path, path=str(tmp_path / 'a.md')))


def test_an_empty_validation_split_says_what_to_do(tmp_path):
  (tmp_path / 'a.txt').write_text('the only document')
  with pytest.raises(UserError, match=r'Set TextFiles.validation_path'):
    read(TextFiles('books', str(tmp_path)), 'validation')


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'name': 'a b', 'path': 'x'}, 'TextFiles.name'),
    ({'name': 'a', 'path': ''}, 'TextFiles.path'),
    ({'name': 'a', 'path': 'x', 'validation_path': 3}, 'validation_path = 3'),
    ({'name': 'a', 'path': 'x', 'validation_fraction': 1.0}, r'in \(0, 1\)'),
    ({'name': 'a', 'path': 'x', 'text_field': None}, 'TextFiles.text_field'),
  ],
)
def test_wrong_fields_are_told(fields, message):
  with pytest.raises(UserError, match=message):
    TextFiles(**fields)
