"""Every format gives the same records, local or remote, whole or cut."""

import collections
import gzip
import hashlib
import lzma

import fsspec
import pytest

from tests.data.sources import made
from tpu_lm.checks import UserError
from tpu_lm.data.sources import files as files_module
from tpu_lm.data.sources.formats import READERS, reader_of
from tpu_lm.data.sources.kinds import BLOCKS, STREAMS, kind_of
from tpu_lm.data.sources.parts import Part
from tpu_lm.data.sources.shards import EXPANSION, make_shards


@pytest.fixture(scope='module')
def formats(tmp_path_factory):
  return made.every_format(tmp_path_factory.mktemp('formats'))


def names():
  return [
    *('a.jsonl', 'a.JSONL', 'a.json', 'a.jsonl.gz', 'a.jsonl.xz'),
    *('a.jsonl.zst', 'a.json.gz', 'list.json', 'a.csv', 'a.csv.gz'),
    *('a.parquet', 'a.arrow', 'a.tfrecord', 'a.tfrecord-00000-of-00001'),
    *('json.tfrecord.gz', 'a.array_record', 'a.array_record-00000-of-00001'),
  ]


def test_these_are_all_formats(formats):
  assert [*formats] == names()
  kinds = {kind_of(name)[0] for name in formats} | {'.txt', '.md'}
  assert kinds == {*READERS} == {*STREAMS, *BLOCKS}


@pytest.mark.parametrize('name', names())
def test_records_are_the_same_here_and_there(name, formats, tmp_path):
  (tmp_path / name).write_bytes(formats[name])
  assert made.read(made.files(tmp_path / name)) == made.TEXTS
  folder = made.remote({name: formats[name]})
  assert made.read(made.files(f'{folder}/{name}')) == made.TEXTS
  assert made.read(made.files(folder)) == made.TEXTS


@pytest.mark.parametrize('name', names())
@pytest.mark.parametrize('target', [1, 40, 150])
def test_a_cut_file_gives_every_record_once(name, target, formats, tmp_path):
  path = str(tmp_path / name)
  (tmp_path / name).write_bytes(formats[name])
  shards = make_shards({path: len(formats[name])}, target)
  source = made.files(path)
  texts, places = [], []
  for shard in shards:
    for place, record in source.records('train', shard, None):
      texts.append(record['text'])
      places.append(str(place))
  assert texts == made.TEXTS
  assert len({*places}) == len(texts)
  (whole,) = make_shards({path: len(formats[name])})
  records = source.records('train', whole, None)
  assert places == [str(place) for place, _ in records]
  cuts = ('a.jsonl', 'a.JSONL', 'a.parquet', 'a.arrow', 'a.array_record')
  if name.startswith(cuts) and kind_of(name)[1] == '' and target == 1:
    assert len(shards) > 1
  compressed = kind_of(name)[1] != ''
  text = len(formats[name]) * (EXPANSION if compressed else 1)
  assert sum(shard.size for shard in shards) <= text


@pytest.mark.parametrize('name', ['a.txt', 'b.md', 'c.txt.gz', 'd.txt.zst'])
def test_a_text_file_is_one_document(name, tmp_path):
  data = b'\xef\xbb\xbf' + made.ODD.encode() + b'\r\nsecond line\n'
  compress = {'.gz': gzip.compress, '.zst': made.zstandard}
  stored = compress.get(kind_of(name)[1], bytes)(data)
  (tmp_path / name).write_bytes(stored)
  expected = [made.ODD + '\r\nsecond line\n']
  assert made.read(made.files(tmp_path)) == expected
  assert made.read(made.files(made.remote({name: stored}))) == expected


@pytest.mark.parametrize('name', names())
def test_a_broken_off_file_is_told_or_counted(name, formats, tmp_path, capsys):
  data = formats[name]
  # Text formats have no sign of their end but that of the last record.
  path = tmp_path / name
  path.write_bytes(data[: len(data) * 3 // 4])
  with pytest.raises(UserError, match=f'{name}'):
    made.read(made.files(path))
  counts = collections.Counter()
  source = made.files(path, on_error='skip')
  texts = made.read(source, counts=counts)
  assert texts == made.TEXTS[: len(texts)]
  assert counts['bad'] + counts['damaged files'] == 1
  if kind_of(name)[1] or kind_of(name)[0] in BLOCKS:
    assert counts['damaged files'] == 1
    assert f'{name}: damaged' in capsys.readouterr().err


@pytest.mark.parametrize('suffix', ['gz', 'xz', 'zst'])
def test_what_comes_before_the_damage_is_read(suffix, tmp_path):
  texts = [hashlib.sha512(bytes([i])).hexdigest() * 9 for i in range(256)]
  compress = {'gz': gzip.compress, 'xz': lzma.compress, 'zst': made.zstandard}
  stored = compress[suffix](made.json_lines(texts))
  path = tmp_path / f'a.jsonl.{suffix}'
  path.write_bytes(stored[: len(stored) * 3 // 4])
  read = made.read(made.files(path, on_error='skip'))
  assert read == texts[: len(read)]
  assert len(read) > len(texts) / 3


@pytest.mark.parametrize('name', [*names(), 'a.txt'])
def test_an_empty_file_is_damaged_or_has_no_records(name, tmp_path):
  (tmp_path / name).write_bytes(b'')
  counts = collections.Counter()
  source = made.files(tmp_path, on_error='skip')
  assert made.read(source, counts=counts) == ([''] if name == 'a.txt' else [])
  block = kind_of(name)[0] in BLOCKS or kind_of(name)[1] == '.xz'
  assert counts == ({'damaged files': 1} if block else {})


@pytest.mark.parametrize(
  ('name', 'data'),
  [
    ('a.jsonl.gz', b'no gzip'),
    ('a.jsonl.xz', b'no xz'),
    ('a.jsonl.zst', b'no zstd'),
    # Without a time in it: every process that collects finds the same tests.
    ('a.jsonl.gz', gzip.compress(made.json_lines('x'), mtime=0) + b'behind it'),
    ('a.jsonl.xz', lzma.compress(made.json_lines('x'))[:-9]),
    ('a.jsonl.zst', made.zstandard(made.json_lines('x'))[:-1]),
    ('a.parquet', b'PAR1 no PAR1'),
    ('a.arrow', b'no arrow'),
    ('a.array_record', b'no array record'),
    ('a.tfrecord', b'no TFRecord at all'),
  ],
)
def test_other_data_under_the_name_are_told(name, data, tmp_path):
  (tmp_path / name).write_bytes(data)
  with pytest.raises(UserError, match=f'{name}'):
    made.read(made.files(tmp_path))


def test_flipped_bits_within_compressed_data_are_told(tmp_path):
  data = bytearray(gzip.compress(made.json_lines(['text' * 99] * 99)))
  data[len(data) // 2] ^= 0xFF
  (tmp_path / 'a.jsonl.gz').write_bytes(data)
  with pytest.raises(UserError, match=r'a\.jsonl\.gz'):
    made.read(made.files(tmp_path))


def test_remote_files_that_go_away_are_told():
  source = made.files(made.remote({'a.jsonl': made.json_lines(['x'])}))
  (shard,) = source.shards('train')
  fsspec.filesystem('memory').rm(shard.parts[0].path)
  with pytest.raises(UserError, match=r'a.jsonl: FileNotFoundError'):
    list(source.records('train', shard, None))


def test_files_that_go_away_are_told(tmp_path):
  path = tmp_path / 'a.jsonl'
  path.write_bytes(made.json_lines(['x']))
  source = made.files(path)
  (shard,) = source.shards('train')
  path.unlink()
  with pytest.raises(UserError, match=r'a.jsonl: No such file'):
    list(source.records('train', shard, None))


@pytest.mark.parametrize('name', ['a.parquet', 'a.arrow', 'a.tfrecord'])
def test_only_fields_that_are_needed_are_read(name, formats, tmp_path):
  path = str(tmp_path / name)
  (tmp_path / name).write_bytes(formats[name])
  read = reader_of(path).read
  for _, record in read(Part(path), ('text',), None):
    assert record.get('id') is None
  # A message must be able to say what there is instead.
  for _, record in read(Part(path), ('body',), None):
    assert {*record} == {'id', 'text'}


def test_a_file_is_not_read_into_memory(tmp_path, monkeypatch):
  """The first record comes long before the last byte is asked for."""
  lines = made.json_lines(f'{n} {"x" * 1000}' for n in range(20_000))
  compressed = made.zstandard(lines)
  path = tmp_path / 'a.jsonl'
  path.write_bytes(lines)
  (tmp_path / 'b.jsonl.zst').write_bytes(compressed)
  opened = []
  open_binary = files_module.listing.open_binary

  def remember(path):
    opened.append(open_binary(path))
    return opened[-1]

  from tpu_lm.data.sources import streams

  monkeypatch.setattr(streams, 'open_binary', remember)
  for name in ('a.jsonl', 'b.jsonl.zst'):
    records = reader_of(name).read(Part(str(tmp_path / name)), ('text',), None)
    next(records)
    assert opened[-1].tell() < 3 << 20
    records.close()
    assert opened[-1].closed
