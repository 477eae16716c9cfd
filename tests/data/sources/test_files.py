"""Files: splits, policies, and what is told of mistakes."""

import collections
import dataclasses
import pickle

import pytest
from fsspec.registry import known_implementations

from tests.data.sources import made
from tpu_lm.checks import UserError
from tpu_lm.data.document import BadRecord
from tpu_lm.data.sources.files import Files


@dataclasses.dataclass(frozen=True)
class Two:
  """An example format with two fields."""

  fields: tuple[str, ...] = ('text', 'answer')
  whole: bool = True
  masked: bool = True

  def pieces(self, record):
    return [(record['text'], False), (record['answer'], True)]


def test_paths_may_be_files_globs_folders_and_several(tmp_path, monkeypatch):
  for name in ('a.txt', 'b.txt', 'c.txt', 'sub/d.txt', 'sub/sub/e.txt'):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(name[-5])
  assert made.read(made.files(tmp_path)) == [*'abcde']
  assert made.read(made.files(tmp_path / 'b.txt')) == ['b']
  assert made.read(made.files(tmp_path / '[ac].txt')) == ['a', 'c']
  assert made.read(made.files(tmp_path / '**/[ae].txt')) == ['a', 'e']
  several = (str(tmp_path / 'sub'), str(tmp_path / '[a-d].txt'))
  source = Files('books', several, validation_path=several[0])
  assert made.read(source) == [*'abcde']
  assert made.read(source, 'validation') == ['d', 'e']
  assert Files('books', [*several]) == Files('books', several)
  monkeypatch.chdir(tmp_path)
  relative = Files('books', 'sub', validation_path=('a.txt',))
  assert made.read(relative) == ['d', 'e']
  monkeypatch.chdir('/')
  again = pickle.loads(pickle.dumps(Files('books', f'{tmp_path}/sub')))
  assert made.read(dataclasses.replace(again, validation_path='x')) == [*'de']


def test_absolute_paths(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv('HOME', str(tmp_path / 'home'))
  source = Files('books', ('a', 'gs://bucket/b/'), '~/c').absolute()
  assert source.path == (str(tmp_path / 'a'), 'gs://bucket/b')
  assert source.validation_path == str(tmp_path / 'home/c')
  assert source.absolute() == source
  assert Files('books', 'a').absolute().validation_path is None


def test_records_are_set_aside_by_their_text(tmp_path):
  texts = [f'document {n}' for n in range(400)]
  data = made.json_lines([*texts, *texts[:9]])
  (tmp_path / 'a.jsonl').write_bytes(data)
  source = Files('books', str(tmp_path), validation_fraction=0.2)
  train, held_out = made.read(source), made.read(source, 'validation')
  assert not {*train} & {*held_out}
  assert {*train} | {*held_out} == {*texts}
  assert 50 < len(held_out) < 110
  (tmp_path / 'a.jsonl').rename(tmp_path / 'z.jsonl')
  assert made.read(source, 'validation') == held_out
  # Whatever else a record holds, and whatever the format.
  (tmp_path / 'z.jsonl').write_bytes(made.json_lines(texts, score=1))
  assert [*dict.fromkeys(held_out)] == made.read(source, 'validation')
  (tmp_path / 'z.jsonl').unlink()
  (tmp_path / 'z.parquet').write_bytes(made.parquet(texts))
  assert [*dict.fromkeys(held_out)] == made.read(source, 'validation')
  # The choice is part of what was published: it must not change.
  assert held_out[:5] == [
    'document 15',
    'document 26',
    'document 27',
    'document 36',
    'document 37',
  ]


def test_records_of_two_fields_are_set_aside_by_both(tmp_path):
  lines = made.json_lines(['same question'] * 2)
  for answer in range(200):
    lines += made.json_lines(['same question'], answer=answer)
  (tmp_path / 'a.jsonl').write_bytes(lines)
  source = Files('pairs', str(tmp_path), example=Two(), validation_fraction=0.5)
  train, held_out = made.read(source), made.read(source, 'validation')
  assert len(train) + len(held_out) == 202
  assert 70 < len(train) < 130


def test_a_validation_path_of_its_own(tmp_path):
  for name in ('train', 'validation'):
    (tmp_path / name).mkdir()
    (tmp_path / name / 'a.txt').write_text(name)
  source = Files('books', f'{tmp_path}/train', f'{tmp_path}/validation')
  assert made.read(source) == ['train']
  assert made.read(source, 'validation') == ['validation']


def test_broken_records_are_counted_and_the_first_told(tmp_path, capsys):
  data = b''.join(b'{"text": "%d"}\nbroken\n' % n for n in range(9))
  (tmp_path / 'a.jsonl').write_bytes(data)
  source = Files('nine', str(tmp_path), str(tmp_path), on_error='skip')
  counts = collections.Counter()
  assert made.read(source, counts=counts) == [*'012345678']
  assert counts == {'bad': 9}
  told = capsys.readouterr().err.splitlines()
  assert len(told) == 3
  assert told[0].startswith('nine: passed over ')
  assert 'a.jsonl, line 2: not JSON: ' in told[0]
  assert told[2].endswith('(others are only counted)')


def test_what_an_example_format_refuses_goes_by_the_policy(tmp_path):
  (tmp_path / 'a.jsonl').write_bytes(b'{"text": 3}\n{"text": "x"}\n{}\n')
  counts = collections.Counter()
  for source in (
    made.files(tmp_path, on_error='skip'),
    made.files(tmp_path),
  ):
    (shard,) = source.shards('train')
    for place, record in source.records('train', shard, counts):
      try:
        source.example.pieces(record)
      except BadRecord as error:
        if source.on_error == 'skip':
          source.bad(place, error, counts)
          continue
        with pytest.raises(UserError, match=r"line 1: field 'text' is int"):
          source.bad(place, error, counts)
        break
  assert counts == {'bad': 2}


def test_shards_are_grouped_and_depend_on_the_files_alone(tmp_path):
  for number in range(30):
    (tmp_path / f'{number:02}.txt').write_text('x' * number)
  (shard,) = made.files(tmp_path).shards('train')
  assert len(shard.parts) == 30
  assert shard.size == sum(range(30))
  assert made.files(tmp_path).shards('train') == [shard]


@pytest.mark.parametrize('name', ['a.pdf', 'a.jsonl.bz2', 'a', 'a.gz', '.txt'])
def test_kinds_that_are_not_understood_are_told(name, tmp_path):
  (tmp_path / name).write_bytes(b'x')
  with pytest.raises(UserError, match=r'must end in \.txt, \.md, \.jsonl'):
    made.files(tmp_path / name).shards('train')
  with pytest.raises(UserError, match=r'no file .* of a kind .* \.txt, \.md'):
    made.files(tmp_path).shards('train')


def test_no_file_is_told(tmp_path):
  with pytest.raises(UserError, match=r'Files books: there is no file /.*/no'):
    made.files(tmp_path / 'no.txt').shards('train')
  with pytest.raises(UserError, match=r'there is no file memory://no/such'):
    made.files('memory://no/such').shards('train')
  with pytest.raises(UserError, match=r'nowhere://a: Protocol not known'):
    made.files('nowhere://a').shards('train')


def test_a_storage_whose_package_is_missing_is_told(monkeypatch):
  known = {'class': 'no_such_module.System', 'err': 'install it for far://'}
  monkeypatch.setitem(known_implementations, 'far', known)
  with pytest.raises(UserError, match=r'far://a/b: install it for far://'):
    Files('books', 'far://a/b').shards('train')


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'name': 'a b', 'path': 'x'}, 'Files.name'),
    ({'name': '..', 'path': 'x'}, 'Files.name'),  # it names a folder
    ({'name': 3, 'path': 'x'}, 'Files.name = 3'),
    ({'name': 'a', 'path': ''}, 'Files.path'),
    ({'name': 'a', 'path': ()}, 'Files.path'),
    ({'name': 'a', 'path': ('a', 3)}, 'Files.path'),
    ({'name': 'a', 'path': None}, 'Files.path'),
    ({'name': 'a', 'path': 'x', 'validation_path': 3}, 'validation_path = 3'),
    ({'name': 'a', 'path': 'x', 'validation_fraction': 1.0}, 'below 1'),
    ({'name': 'a', 'path': 'x', 'validation_fraction': 0}, 'above 0'),
    ({'name': 'a', 'path': 'x', 'example': 'text'}, 'Files.example'),
    ({'name': 'a', 'path': 'x', 'on_error': 'ignore'}, "'fail' or 'skip'"),
  ],
)
def test_wrong_fields_are_told(fields, message):
  with pytest.raises(UserError, match=message):
    Files(**fields)
