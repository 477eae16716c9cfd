"""Which files a path, glob or URL means, and what is known of them."""

import fsspec
import pytest

from tests.data.sources import made
from tpu_lm.data.sources.kinds import is_data, kind_of
from tpu_lm.data.sources.listing import list_files, pattern_of, read_range


@pytest.mark.parametrize(
  ('name', 'kind'),
  [
    ('a.txt', ('.txt', '')),
    ('gs://b/a.b.JSONL.GZ', ('.jsonl', '.gz')),
    ('c4-train.tfrecord-00000-of-01024', ('.tfrecord', '')),
    ('c4.array_record-00000-of-00002', ('.array_record', '')),
    ('train-00000-of-00002.parquet', ('.parquet', '')),
    ('a.parquet.gz', None),
    ('a.gz', None),
    ('txt', None),
    ('.txt', None),
    ('a.txt~', None),
  ],
)
def test_kinds(name, kind):
  assert kind_of(name) == kind
  assert is_data(name) == (kind is not None)


def test_notes_about_data_are_no_data():
  for name in ('README.md', 'state.json', 'dataset_info.json'):
    assert not is_data(f'folder/{name}') and is_data(f'folder/my_{name}')


def test_a_folder_means_the_data_below_it(tmp_path):
  folder = tmp_path / 'a [folder] of * signs?'
  files = {
    'a.txt': b'1',
    'b c/[d].jsonl.gz': b'22',
    'b c/e.tfrecord-00000-of-00001': b'',
    'README.md': b'not',
    'x.pdf': b'not',
    '.hidden/a.txt': b'not',
    'b c/.hidden.txt': b'not',
  }
  for name, data in files.items():
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
  expected = {name: len(d) for name, d in files.items() if d != b'not'}
  found = list_files([pattern_of(str(folder))])
  sizes = {path: size for path, (size, _) in found.items()}
  assert sizes == {f'{folder}/{name}': size for name, size in expected.items()}
  one = f'{folder}/b c/[d].jsonl.gz'
  assert [*list_files([pattern_of(one)])] == [one]
  remote = made.remote(files)
  found = list_files([pattern_of(remote), pattern_of(f'{remote}/b c/')])
  remote = remote.replace('memory://', 'memory:///')
  assert [*found] == [
    f'{remote}/a.txt',
    f'{remote}/b c/[d].jsonl.gz',
    f'{remote}/b c/e.tfrecord-00000-of-00001',
  ]


def test_links_are_followed(tmp_path):
  (tmp_path / 'data').mkdir()
  (tmp_path / 'data/a.txt').write_text('x')
  (tmp_path / 'links').mkdir()
  (tmp_path / 'links/b.txt').symlink_to(tmp_path / 'data/a.txt')
  (tmp_path / 'links/all').symlink_to(tmp_path / 'data')
  (tmp_path / 'links/c.txt').symlink_to(tmp_path / 'nowhere')
  found = list_files([pattern_of(str(tmp_path / 'links'))])
  assert [path.removeprefix(f'{tmp_path}/links/') for path in found] == [
    'all/a.txt',
    'b.txt',
  ]


def test_a_change_of_a_file_shows(tmp_path):
  def check(folder, write):
    write('a.txt', b'one')
    first = list_files([pattern_of(folder)])
    assert list_files([pattern_of(folder)]) == first
    write('a.txt', b'two')
    second = list_files([pattern_of(folder)])
    assert [*first] == [*second] and first != second
    write('b.txt', b'')
    assert len(list_files([pattern_of(folder)])) == 2

  def write(name, data):
    with fsspec.open(f'{remote}/{name}', 'wb') as file:
      file.write(data)

  check(str(tmp_path), lambda name, data: (tmp_path / name).write_bytes(data))
  remote = made.remote({'a.txt': b''})
  check(remote, write)


def test_ranges_of_bytes(tmp_path):
  (tmp_path / 'a').write_bytes(b'0123456789')
  remote = made.remote({'a': b'0123456789'})
  for folder in (tmp_path, remote):
    assert read_range(f'{folder}/a', 3, 6) == b'345'
    assert read_range(f'{folder}/a', 8, 99) == b'89'
