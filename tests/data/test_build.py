import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.data.numbers_recipe import Numbers
from tpu_lm.checks import UserError
from tpu_lm.data.build import build_store
from tpu_lm.data.contamination import Contamination, dirty_items
from tpu_lm.data.sources.files import Files
from tpu_lm.data.storage import open_folder
from tpu_lm.data.store import MANIFEST, TokenStore

# A process that builds, as a user's would be: listening to Ctrl-C even where
# these tests run in the background of a script, which deafens its children.
BUILDER = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from tests.data.numbers_recipe import Numbers
from tpu_lm.data.build import build_store
folder, seconds, processes = sys.argv[1:]
build_store(Numbers(seconds=float(seconds)), folder, int(processes))
"""


def start_builder(folder, seconds, processes):
  return subprocess.Popen(
    [sys.executable, '-c', BUILDER, str(folder), str(seconds), str(processes)],
    stderr=subprocess.PIPE,
    text=True,
    env={**os.environ, 'PYTHONPATH': os.pathsep.join(['.', *sys.path])},
  )


def content(directory):
  folder = open_folder(directory)
  names = list(folder.sizes())
  return dict(zip(names, folder.read(names)))


def pieces(folder):
  return {
    path: path.stat().st_mtime_ns for path in folder.glob('train-*/piece-*')
  }


def wait_until(condition, seconds=60):
  end = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < end, 'nothing happened'
    time.sleep(0.01)


@pytest.fixture(scope='module')
def expected(tmp_path_factory):
  """The content of a store that was built without disturbance."""
  folder = tmp_path_factory.mktemp('undisturbed')
  return content(build_store(Numbers(), folder).directory)


def test_all_documents_of_all_shards_are_there_in_order(tmp_path):
  recipe = Numbers()
  store = build_store(recipe, tmp_path)
  number = 0
  for shard in range(recipe.num_shards):
    for document in filter(None, recipe.documents(shard, {'bad': 0})):
      assert store.document(number).tolist() == document.tokens.tolist()
      start, stop = store.offsets[number : number + 2]
      assert store.loss(start, stop).tolist() == document.loss.tolist()
      number += 1
  assert store.num_documents == number
  assert store.manifest.counts == {'bad': 20, 'empty': 25}
  assert store.manifest.num_bytes == 2 * store.num_tokens
  assert store.manifest.masked
  assert store.manifest.whole
  names = {name.split('-')[0] for name in content(store.directory)}
  assert names == {
    'dependencies.json',
    'documents.bin',
    'loss',
    'manifest.json',
    'piece',
    'tokens',
  }


def test_processes_and_storage_do_not_change_the_bytes(tmp_path, expected):
  store = build_store(Numbers(), tmp_path / 'two', processes=2)
  assert content(store.directory) == expected
  store = build_store(Numbers(), f'file://{tmp_path}/url', processes=2)
  assert content(store.directory) == expected
  store = build_store(Numbers(), 'memory://test_build/x', processes=2)
  assert content(store.directory) == expected


def test_it_tells_how_it_goes_on(tmp_path, capfd, monkeypatch):
  monkeypatch.setattr('tpu_lm.data.progress.SECONDS_BETWEEN_LINES', 0.0)
  build_store(Numbers(num_shards=2, size=5_000_000), tmp_path)
  told = capfd.readouterr().err.splitlines()
  assert told[0] == 'numbers/train: building its token store, 2 shards, 10.0 MB'
  assert told[-2].startswith('numbers/train: 2 of 2 shards, 10 of 10 MB, ')
  assert told[-2].endswith(' documents, 0.0 M tokens, 0:00 left')
  assert told[-1].startswith('numbers/train: done, ')
  assert told[-1].endswith(', 0:00; left out: 8 bad, 10 empty')
  build_store(Numbers(num_shards=2, size=5_000_000), tmp_path)
  assert capfd.readouterr().err == ''


@pytest.mark.parametrize(('processes', 'moment'), [(1, 1), (2, 1), (2, 3)])
def test_a_killed_build_goes_on_where_it_was(
  tmp_path, expected, processes, moment
):
  builder = start_builder(tmp_path, 0.01, processes)
  wait_until(lambda: len(pieces(tmp_path)) >= moment)
  builder.send_signal(signal.SIGKILL)
  builder.wait()
  time.sleep(0.5)  # its workers die too, else pieces would still come
  done = pieces(tmp_path)
  time.sleep(0.5)
  assert pieces(tmp_path) == done
  assert moment <= len(done) < 6
  [directory] = tmp_path.glob('train-*/')
  assert not (directory / MANIFEST).exists()
  # Half a file, as if it had been killed while writing one.
  (directory / '.tokens-00005-000.bin.77.partial').write_bytes(b'half')

  again = start_builder(tmp_path, 0, processes)
  told = again.communicate()[1]
  assert again.returncode == 0, told
  assert f'{len(done)} of them are done already' in told
  assert content(directory) == expected
  assert pieces(tmp_path).items() >= done.items()
  assert not list(directory.glob('.*'))


def test_the_second_of_two_builders_waits_and_reads(tmp_path, expected):
  first = start_builder(tmp_path, 0.01, 1)
  wait_until(lambda: pieces(tmp_path))
  second = start_builder(tmp_path, 0.01, 1)
  second_told = second.communicate()[1]
  assert first.wait() == second.returncode == 0
  assert 'another process is building it; waiting' in second_told
  assert 'done' not in second_told
  [directory] = tmp_path.glob('train-*/')
  assert content(directory) == expected


def test_a_stopped_build_stops_its_workers(tmp_path):
  builder = start_builder(tmp_path, 0.05, 2)
  wait_until(lambda: pieces(tmp_path))
  builder.send_signal(signal.SIGINT)
  told = builder.communicate(timeout=20)[1]
  assert builder.returncode != 0
  assert told.count('Traceback') == 1
  assert 'KeyboardInterrupt' in told
  done = pieces(tmp_path)
  time.sleep(0.5)
  assert pieces(tmp_path) == done


@pytest.mark.parametrize('processes', [1, 2])
def test_a_mistake_in_the_data_comes_back_as_it_is(tmp_path, processes):
  with pytest.raises(
    UserError, match=r'^numbers, shard 1, document 5: it is bad$'
  ):
    build_store(Numbers(mistake=1), tmp_path, processes)
  assert len(pieces(tmp_path)) < 6
  assert not list(tmp_path.glob(f'*/{MANIFEST}'))


def test_a_killed_worker_is_told_and_no_reason_to_hang(tmp_path):
  recipe = Numbers(killer=4)
  with pytest.raises(UserError, match=r'numbers/train: a process .* died'):
    build_store(recipe, tmp_path, processes=2)
  assert not list(tmp_path.glob(f'*/{MANIFEST}'))


def test_nothing_is_left_of_a_split_without_tokens(tmp_path):
  with pytest.raises(UserError, match="numbers: split 'train' has no tokens"):
    build_store(Numbers(documents_each=0), tmp_path)
  assert [path.name for path in tmp_path.iterdir()] == ['train.lock']


def test_data_that_change_meanwhile_are_told(tmp_path):
  class Edited(Numbers):
    def documents(self, shard, counts):
      with open(self.watched, 'a') as file:
        file.write('more')
      return super().documents(shard, counts)

  watched = tmp_path / 'a.txt'
  watched.write_text('some')
  with pytest.raises(UserError, match=r'a\.txt has changed while its store'):
    build_store(Edited(watched=str(watched)), tmp_path / 'stores')
  assert not list((tmp_path / 'stores').glob('*/'))


def test_files_that_can_not_be_reached_any_more_cost_no_pieces(tmp_path):
  @dataclasses.dataclass(frozen=True)
  class Lost(Numbers):
    def header(self):
      header = super().header()
      if pieces(tmp_path):
        changed = dataclasses.replace(header.dependencies, files={})
        header = dataclasses.replace(header, dependencies=changed)
      return header

  watched = tmp_path / 'a.txt'
  watched.write_text('some')
  with pytest.raises(UserError, match=r'a\.txt is gone or can not be reached'):
    build_store(Lost(watched=str(watched)), tmp_path)
  done = pieces(tmp_path)
  assert len(done) == 6
  build_store(Numbers(watched=str(watched)), tmp_path)
  assert pieces(tmp_path) == done


def test_evaluation_sets_are_looked_for_in_every_piece(tmp_path):
  items = [f'é{"é" * n} ' * 13 for n in range(300)]
  (tmp_path / 'eval.jsonl').write_text(
    ''.join(json.dumps({'text': item}) + '\n' for item in items)
  )
  held = Files('held', str(tmp_path / 'eval.jsonl'))

  class Spaced(Numbers):
    def documents(self, shard, counts):
      if shard == 5 and self.mistake == -2:
        raise UserError('stopped')
      for one in filter(None, super().documents(shard, counts)):
        text = f'{one.text} ' * 13
        yield dataclasses.replace(one, text=text)

  check = Contamination((held,))
  store = build_store(Spaced(), tmp_path / 'one', contamination=check)
  lengths = set(np.diff(store.offsets).tolist())
  found = store.manifest.contamination['held']
  assert found['documents'] == store.num_documents
  assert dirty_items(found) == sorted(length - 1 for length in lengths)
  # What was begun without the check is not taken over.
  with pytest.raises(UserError, match='stopped'):
    build_store(Spaced(mistake=-2), tmp_path / 'two')
  again = build_store(Spaced(), tmp_path / 'two', contamination=check)
  assert content(again.directory) == content(store.directory)


def test_unfinished_stores_of_other_data_are_removed(tmp_path, capsys):
  for name in ('train-0a', 'train-0b.partial', 'train-long-0a', 'valid-0a'):
    (tmp_path / name).mkdir()
    (tmp_path / name / 'tokens-00000-000.bin').write_bytes(b'some')
  (tmp_path / 'train-0c').symlink_to(tmp_path / 'valid-0a')  # of the user
  finished = build_store(Numbers(num_shards=1), tmp_path).directory
  other = build_store(Numbers(num_shards=2), tmp_path).directory
  names = {path.name for path in tmp_path.iterdir()}
  assert {'train-long-0a', 'valid-0a', 'train-0c'} < names
  assert not {'train-0a', 'train-0b.partial'} & names
  assert 'train-0a: never finished' in capsys.readouterr().err
  assert TokenStore(finished).num_documents < TokenStore(other).num_documents


def test_a_damaged_manifest_is_told(tmp_path, expected):
  directory = build_store(Numbers(), tmp_path).directory
  path = os.path.join(directory, MANIFEST)
  with open(path, 'w') as file:
    file.write('{"task"')
  with pytest.raises(UserError, match=r'manifest\.json is damaged: delete it'):
    build_store(Numbers(), tmp_path)
  os.remove(path)
  build_store(Numbers(), tmp_path)
  assert content(directory) == expected


@pytest.mark.parametrize('processes', [0, -1, 1.5, True, '2'])
def test_a_wrong_number_of_processes_is_told(tmp_path, processes):
  with pytest.raises(UserError, match=r'^processes = '):
    build_store(Numbers(), tmp_path, processes)
