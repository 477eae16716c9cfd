import sys

import pytest

from tests.data.numbers_recipe import Numbers
from tpu_lm.checks import UserError
from tpu_lm.data.beam import build_store_with_beam
from tpu_lm.data.build import build_store
from tpu_lm.data.storage import open_folder
from tpu_lm.data.store import MANIFEST

# Beam's in-process runner, on the threads of this process.
OPTIONS = ['--direct_num_workers=2', '--direct_running_mode=multi_threading']


@pytest.fixture
def beam():
  return pytest.importorskip(
    'apache_beam', reason="needs pip install 'tpu-lm[beam]'"
  )


def content(directory):
  folder = open_folder(directory)
  names = list(folder.sizes())
  return dict(zip(names, folder.read(names)))


@pytest.mark.parametrize('options', [[], OPTIONS])
def test_both_builders_write_the_same_bytes(beam, tmp_path, options):
  one = build_store(Numbers(), tmp_path / 'one')
  other = build_store_with_beam(Numbers(), tmp_path / 'other', options)
  assert content(one.directory) == content(other.directory)
  assert one.fingerprint == other.fingerprint


def test_what_one_builder_began_the_other_finishes(beam, tmp_path, capfd):
  with pytest.raises(UserError):
    build_store(Numbers(mistake=2), tmp_path)
  pieces = {p: p.stat().st_mtime_ns for p in tmp_path.glob('*/piece-*')}
  assert len(pieces) == 2
  store = build_store_with_beam(Numbers(), tmp_path, [])
  assert '2 of them are done already' in capfd.readouterr().err
  assert all(p.stat().st_mtime_ns == time for p, time in pieces.items())
  assert content(store.directory) == content(
    build_store(Numbers(), tmp_path / 'undisturbed').directory
  )


def test_a_mistake_in_the_data_comes_back_as_it_is(beam, tmp_path):
  with pytest.raises(
    UserError, match=r'^numbers, shard 1, document 5: it is bad$'
  ):
    build_store_with_beam(Numbers(mistake=1), tmp_path, [])
  [directory] = tmp_path.glob('train-*/')
  names = {path.name for path in directory.iterdir()}
  assert MANIFEST not in names
  assert not any(name.startswith('mistake') for name in names)
  build_store_with_beam(Numbers(), tmp_path, [])
  assert (directory / MANIFEST).exists()


def test_without_beam_it_says_how_to_install_it(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'apache_beam', None)
  with pytest.raises(UserError, match=r"pip install 'tpu-lm\[beam\]'"):
    build_store_with_beam(Numbers(), tmp_path, [])
  assert not list(tmp_path.iterdir())
