import concurrent.futures
import errno
import fcntl
import os
import queue
import subprocess
import sys
import threading
import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpu_lm.checks import UserError
from tpu_lm.data.local_storage import OPEN_FILES
from tpu_lm.data.storage import open_folder

KINDS = ['path', 'file', 'memory']


@pytest.fixture(params=KINDS)
def url(request, tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path / 'home'))
  return place(request.param, tmp_path)


def place(kind, tmp_path):
  if kind == 'path':
    return str(tmp_path / 'a b')
  if kind == 'file':
    return f'file://{tmp_path}/a%20b'
  return f'memory://{uuid.uuid4()}/a'


def test_gives_back_what_was_written(url):
  folder = open_folder(url)
  assert folder.sizes() == {}
  folder.write('one.bin', b'hello')
  folder.write('below/two.bin', b'')
  folder.write('one.json', b'{}')
  folder.write('one.bin', b'other')
  again = open_folder(url + '/')
  assert list(again.sizes()) == ['below/two.bin', 'one.bin', 'one.json']
  assert list(again.sizes('one.')) == ['one.bin', 'one.json']
  assert again.sizes('one.b')['one.bin'] in (5, None)
  assert again.read(['one.json', 'one.bin']) == [b'{}', b'other']
  assert list(open_folder(f'{again.url}/below').sizes()) == ['two.bin']
  folder.delete(['one.bin', 'never there'])
  assert list(folder.sizes()) == ['below/two.bin', 'one.json']
  folder.clear()
  folder.clear()
  assert folder.sizes() == {}


def test_what_is_not_there_is_told(url):
  folder = open_folder(url)
  folder.write('short', b'12345')
  with pytest.raises(FileNotFoundError, match='absent'):
    folder.read(['short', 'absent'])
  with pytest.raises(FileNotFoundError, match='absent'):
    folder.read_ranges([('short', 1, 2), ('absent', 0, 1)])
  with pytest.raises(OSError, match='short'):
    folder.read_ranges([('short', 3, 6)])


@pytest.mark.parametrize('kind', KINDS)
@settings(max_examples=20, deadline=None)
@given(
  contents=st.lists(st.binary(max_size=50), min_size=1, max_size=4),
  data=st.data(),
)
def test_reads_any_stretches(kind, tmp_path_factory, contents, data):
  folder = open_folder(place(kind, tmp_path_factory.mktemp('x')))
  for number, content in enumerate(contents):
    folder.write(str(number), content)
  requests = []
  for _ in range(data.draw(st.integers(0, 6))):
    number = data.draw(st.integers(0, len(contents) - 1))
    stop = data.draw(st.integers(0, len(contents[number])))
    requests.append((str(number), data.draw(st.integers(0, stop)), stop))
  expected = [contents[int(name)][start:stop] for name, start, stop in requests]
  assert folder.read_ranges(requests) == expected


def test_threads_read_more_files_than_are_kept_open(tmp_path):
  folder = open_folder(tmp_path)
  names = [f'{number}.bin' for number in range(OPEN_FILES + 40)]
  for name in names:
    (tmp_path / name).write_bytes(name.encode())

  def read(seed):
    order = np.random.default_rng(seed).permutation(names * 3).tolist()
    return all(
      folder.read_ranges([(name, 0, len(name))]) == [name.encode()]
      for name in order
    )

  with concurrent.futures.ThreadPoolExecutor(4) as threads:
    assert all(threads.map(read, range(4)))
  opened = len(os.listdir('/proc/self/fd')) if os.path.exists('/proc') else 0
  assert opened < OPEN_FILES + 60


def test_a_file_that_is_written_half_is_not_there(tmp_path, monkeypatch):
  folder = open_folder(tmp_path)

  def fail(number):
    raise OSError('no space left on the device')

  with monkeypatch.context() as patch:
    patch.setattr(os, 'fsync', fail)
    with pytest.raises(UserError, match=r'x\.bin can not be .* no space left'):
      folder.write('x.bin', b'half')
  assert not list(tmp_path.iterdir())
  (tmp_path / '.x.bin.77.partial').write_bytes(b'ha')  # of a killed process
  assert folder.sizes() == {}
  folder.clean()
  assert not list(tmp_path.iterdir())


def test_a_folder_that_can_not_be_made_is_told(tmp_path):
  (tmp_path / 'file').write_text('')
  folder = open_folder(tmp_path / 'file/below')
  with pytest.raises(UserError, match=r'can not be written: .*Not a directory'):
    folder.write('x.bin', b'')
  with (
    pytest.raises(UserError, match='can not be written'),
    folder.lock('x.lock', ''),
  ):
    pass


def test_a_local_copy_has_the_same_bytes_and_is_kept(url, monkeypatch):
  folder = open_folder(url)
  content = bytes(range(256)) * 40
  monkeypatch.setattr('tpu_lm.data.object_storage.COPY_BYTES', 1000)
  folder.write('x.bin', content)
  path = folder.local_copy('x.bin', len(content), 'v1')
  assert path.read_bytes() == content
  assert folder.local_copy('x.bin', len(content), 'v1') == path
  if '://' in url:
    folder.write('x.bin', b'new')
    assert folder.local_copy('x.bin', 3, 'v2').read_bytes() == b'new'
    assert path.read_bytes() == content


def test_threads_may_make_the_same_file(tmp_path, monkeypatch):
  both, fsync = threading.Barrier(2, timeout=60), os.fsync

  def wait(number):
    both.wait()
    fsync(number)

  monkeypatch.setattr(os, 'fsync', wait)
  folder = open_folder(tmp_path)
  with concurrent.futures.ThreadPoolExecutor(2) as threads:
    written = [threads.submit(folder.write, 'x.bin', b'same') for _ in 'ab']
    assert [future.result() for future in written] == [None, None]
  assert [path.name for path in tmp_path.iterdir()] == ['x.bin']
  assert folder.read(['x.bin']) == [b'same']


def test_a_store_may_be_behind_a_link(tmp_path):
  open_folder(tmp_path / 'large disk').write('x.bin', b'12345')
  (tmp_path / 'stores').mkdir()
  (tmp_path / 'stores/train').symlink_to(tmp_path / 'large disk')
  assert open_folder(tmp_path / 'stores').sizes() == {'train/x.bin': 5}


def test_a_disk_without_locks_is_told(tmp_path, monkeypatch):
  def refuse(file, how):
    raise OSError('No locks available')

  monkeypatch.setattr(fcntl, 'flock', refuse)
  with (
    pytest.raises(UserError, match=r'x\.lock can not be .* No locks available'),
    open_folder(tmp_path).lock('x.lock', ''),
  ):
    pass


def test_a_lock_is_held_until_it_is_let_go(tmp_path, monkeypatch):
  order, told = [], queue.Queue()
  monkeypatch.setattr('tpu_lm.data.local_storage.say', told.put)
  folder = open_folder(tmp_path / 'new')

  def second():
    with open_folder(tmp_path / 'new').lock('x.lock', 'waiting for it'):
      order.append('second')

  with folder.lock('x.lock', 'never told'):
    thread = threading.Thread(target=second)
    thread.start()
    assert told.get(timeout=60) == 'waiting for it'
    order.append('first')
  thread.join()
  assert order == ['first', 'second']


@pytest.mark.parametrize('url', ['ftp://host/x', 'gs://B', 's3://_/x'])
def test_a_url_of_no_known_kind_is_a_users_mistake(url):
  with pytest.raises(UserError, match=url):
    open_folder(url)


def test_a_disk_needs_no_tensorstore(tmp_path):
  code = (
    'import sys; from tpu_lm.data.storage import open_folder;'
    f'open_folder({str(tmp_path)!r}).write("x", b"1");'
    'assert "tensorstore" not in sys.modules'
  )
  env = {**os.environ, 'PYTHONPATH': os.pathsep.join(['.', *sys.path])}
  subprocess.run([sys.executable, '-c', code], check=True, env=env)


class Flaky:
  """Reads that fail at first, as of a disk that is elsewhere."""

  def __init__(self, monkeypatch, failures, number=errno.EIO):
    self.left, self.waited = failures, []
    pread = os.pread

    def read(*arguments):
      if self.left:
        self.left -= 1
        raise OSError(number, os.strerror(number))
      return pread(*arguments)

    monkeypatch.setattr(os, 'pread', read)
    monkeypatch.setattr('time.sleep', self.waited.append)


@pytest.mark.parametrize('number', [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_reading_is_tried_again(tmp_path, monkeypatch, number):
  folder = open_folder(str(tmp_path))
  folder.write('a.bin', b'0123456789')
  flaky = Flaky(monkeypatch, 2, number)
  assert folder.read_ranges([('a.bin', 2, 5)]) == [b'234']
  assert flaky.waited == [0.5, 2.0]


def test_reading_that_goes_on_failing_is_told(tmp_path, monkeypatch):
  folder = open_folder(str(tmp_path))
  folder.write('a.bin', b'0123456789')
  flaky = Flaky(monkeypatch, 99)
  with pytest.raises(UserError, match=r'a.bin can not be read: .*Errno 5'):
    folder.read_ranges([('a.bin', 2, 5)])
  assert flaky.waited == [0.5, 2.0, 5.0]


def test_what_is_missing_or_short_is_told_at_once(tmp_path, monkeypatch):
  folder = open_folder(str(tmp_path))
  folder.write('a.bin', b'0123456789')
  waited = []
  monkeypatch.setattr('time.sleep', waited.append)
  with pytest.raises(FileNotFoundError):
    folder.read(['b.bin'])
  with pytest.raises(OSError, match='shorter than 20 bytes'):
    folder.read_ranges([('a.bin', 2, 20)])
  assert waited == []
