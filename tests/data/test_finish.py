"""Two builders of one store where nobody can lock anything."""

import dataclasses

import pytest

from tests.data.numbers_recipe import Numbers
from tpu_lm.checks import UserError
from tpu_lm.data import finish
from tpu_lm.data.build import build_store
from tpu_lm.data.object_storage import RemoteFolder
from tpu_lm.data.store import MANIFEST, TokenStore


def test_what_another_builder_finished_is_not_removed(tmp_path):
  @dataclasses.dataclass(frozen=True)
  class Overtaken(Numbers):
    def documents(self, shard, counts):
      if shard == 5:
        build_store(Numbers(watched=self.watched), url)
        watched.write_text('others')
      yield from super().documents(shard, counts)

  watched = tmp_path / 'a.txt'
  watched.write_text('some')
  url = f'file://{tmp_path}/stores'  # where nobody can lock anything
  with pytest.raises(UserError, match=r'a\.txt has changed while its store'):
    build_store(Overtaken(watched=str(watched)), url)
  [manifest] = tmp_path.glob(f'stores/*/{MANIFEST}')
  assert TokenStore(manifest.parent).num_documents > 0


def test_another_builder_may_finish_at_the_same_time(monkeypatch, tmp_path):
  read = RemoteFolder.read

  def overtaken(folder, names):
    if any(name.startswith('lengths-') for name in names):
      monkeypatch.setattr(RemoteFolder, 'read', read)
      build_store(Numbers(), f'file://{tmp_path}')
    return read(folder, names)

  monkeypatch.setattr(RemoteFolder, 'read', overtaken)
  assert build_store(Numbers(), f'file://{tmp_path}').num_documents > 0


def test_pieces_are_read_a_few_at_a_time(monkeypatch, tmp_path):
  one = build_store(Numbers(num_shards=7), tmp_path / 'one')
  monkeypatch.setattr(finish, 'PIECES_AT_ONCE', 3)
  other = build_store(Numbers(num_shards=7), tmp_path / 'other')
  assert one.offsets.tolist() == other.offsets.tolist()
  assert one.fingerprint == other.fingerprint
