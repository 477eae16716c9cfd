"""CSV, Parquet and Arrow: rows that are odd or broken."""

import struct

import pyarrow
import pyarrow.parquet
import pytest

from tests.data.sources import made
from tpu_lm.checks import UserError
from tpu_lm.data.sources.formats import reader_of
from tpu_lm.data.sources.parts import Part


def read(path, fields=('text',)):
  told = []

  def bad(place, why):
    told.append(f'{place}: {why}'.removeprefix(f'{path}, '))

  records = reader_of(str(path)).read(Part(str(path)), fields, bad)
  return [record for _, record in records], told


def write(table, path):
  """Writes a table as Parquet or as an Arrow stream, by the path's suffix."""
  if path.suffix == '.parquet':
    pyarrow.parquet.write_table(table, path)
  else:
    with pyarrow.ipc.new_stream(path, table.schema) as writer:
      writer.write_table(table)
  return path


@pytest.mark.parametrize(
  ('data', 'texts', 'told'),
  [
    (b'text,n\nx,1\n', ['x'], []),
    (b'\xef\xbb\xbftext\nx', ['x'], []),
    (b'text\r\n"a\r\nb"\r\n\r\nc\r\n', ['a\r\nb', 'c'], []),
    ('text\n"a, ""b""\u2028"\n'.encode(), ['a, "b"\u2028'], []),
    (b'text\n' + b'x' * 500_000, ['x' * 500_000], []),
    (b'text,n\nx,1\ny\nz,1\n', ['x', 'z'], ['line 3: 1 cells in 2 columns']),
    (b'text,n\n"a\nb",1\ny\n', ['a\nb'], ['line 4: 1 cells in 2 columns']),
    (b'n,text\n1,\xff\n2,y\n', ['y'], ["line 2: field 'text' is not UTF-8"]),
    (b'text,n\nx,\xff\n', ['x'], []),
    (b'text\nx\n"y\nz\n', ['x'], ['line 3: unexpected end of data']),
    (b'text\nx\n"y"y\nz\n', ['x', 'z'], ["line 3: ',' expected after"]),
    (b'text\n', [], []),
    (b'', [], []),
  ],
)
def test_rows_of_csv(data, texts, told, tmp_path):
  path = tmp_path / 'a.csv'
  path.write_bytes(data)
  records, lines = read(path)
  assert [record['text'] for record in records] == texts
  assert len(lines) == len(told)
  for line, start in zip(lines, told):
    assert line.startswith(start)


@pytest.mark.parametrize(
  ('data', 'why'),
  [
    (b'"te"xt\nx\n', ''),
    (b'text,\xff\nx\n', 'the header is not UTF-8'),
    ('text\nx\n'.encode('utf-16'), 'the header is not UTF-8'),
  ],
)
def test_a_csv_without_names_of_columns_is_told(data, why, tmp_path):
  path = tmp_path / 'a.csv'
  path.write_bytes(data)
  with pytest.raises(UserError, match=rf'a.csv: no names of columns: {why}'):
    made.read(made.files(path, on_error='fail'))


@pytest.mark.parametrize('kind', ['parquet', 'arrow'])
def test_bytes_that_are_not_utf8(kind, tmp_path):
  values = pyarrow.array([b'one', b'\xff', b'three'])
  for array in (values, values.view(pyarrow.string())):
    table = pyarrow.table({'text': array})
    records, told = read(write(table, tmp_path / f'a.{kind}'))
    assert records == [{'text': 'one'}, {'text': 'three'}]
    assert told == ['row 2: not UTF-8 at byte 0']


def test_arrow_places_outside_of_the_file_are_damage(tmp_path):
  path = write(
    pyarrow.table({'text': ['abc', 'de', 'f']}), tmp_path / 'a.arrow'
  )
  right = struct.pack('<4i', 0, 3, 5, 6)
  wrong = struct.pack('<4i', 0, 1 << 30, 5, 6)
  assert path.read_bytes().count(right) == 1
  path.write_bytes(path.read_bytes().replace(right, wrong))
  with pytest.raises(UserError, match=r'a\.arrow: damaged: .*offset'):
    made.read(made.files(path, on_error='fail'))


@pytest.mark.parametrize('compression', [None, 'zstd'])
def test_arrow_files_are_read_as_streams_are(compression, tmp_path):
  table = pyarrow.table({'text': [f'{i}' for i in range(9)]})
  table = table.set_column(0, 'text', table['text'].dictionary_encode())
  path = tmp_path / 'a.arrow'
  options = pyarrow.ipc.IpcWriteOptions(compression=compression)
  with pyarrow.ipc.new_file(path, table.schema, options=options) as writer:
    writer.write_table(table, max_chunksize=2)
  records, _ = read(path)
  assert records == table.to_pylist()
  parts = [part for part, _ in reader_of('a.arrow').split(str(path), 9, 1)]
  assert len(parts) == 5
  reader = reader_of('a.arrow').read
  split = [r for part in parts for _, r in reader(part, ('text',), None)]
  assert split == records


@pytest.mark.parametrize('kind', ['parquet', 'arrow'])
def test_nested_columns(kind, tmp_path):
  messages = [[{'role': 'user', 'content': 'x'}], [], None]
  table = pyarrow.table({'n': [1, 2, 3], 'messages': messages})
  path = write(table, tmp_path / f'a.{kind}')
  records, _ = read(path, ('messages', 'text'))
  assert records == [{'messages': value} for value in messages]
