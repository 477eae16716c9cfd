import json
import shutil
import uuid
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.helpers import counting_documents, tiny_store
from tpu_lm.checks import UserError
from tpu_lm.data import object_storage, writer
from tpu_lm.data.document import Document
from tpu_lm.data.finish import finish
from tpu_lm.data.storage import open_folder
from tpu_lm.data.store import MANIFEST, TokenStore, find_stores
from tpu_lm.data.writer import StoreHeader, write_piece


@pytest.fixture(autouse=True, scope='module')
def home(tmp_path_factory):
  """Copies of remote indexes are kept in the user's cache."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('HOME', str(tmp_path_factory.mktemp('home')))
    yield


def places(folder):
  return [
    f'{folder}/path',
    f'file://{folder}/url',
    f'memory://{uuid.uuid4()}/x',
  ]


@settings(max_examples=30, deadline=None)
@given(
  documents=st.lists(
    st.lists(st.tuples(st.integers(0, 258), st.booleans()), max_size=40),
    min_size=1,
    max_size=20,
  ),
  chunk_tokens=st.integers(1, 60),
  kind=st.integers(0, 2),
  data=st.data(),
)
def test_gives_back_what_was_written(
  tmp_path_factory, documents, chunk_tokens, kind, data
):
  flat = [pair for document in documents for pair in document]
  kept = list(filter(None, documents))
  numbers = [n for n, document in enumerate(kept) for _ in document]
  folder = places(tmp_path_factory.mktemp('stores'))[kind]

  def write():
    return tiny_store(
      folder,
      'x',
      [[token for token, _ in document] for document in documents],
      chunk_tokens=chunk_tokens,
      losses=[[flag for _, flag in document] for document in documents],
    )

  if not flat:
    with pytest.raises(UserError, match="split 'train' has no tokens"):
      write()
    assert open_folder(folder).sizes() == {}
    return
  store = write()
  assert store.num_tokens == len(flat)
  assert store.num_documents == len(kept)
  assert store.manifest.counts == (
    {'empty': len(documents) - len(kept)} if len(documents) > len(kept) else {}
  )
  assert np.diff(store.offsets).tolist() == [len(one) for one in kept]
  assert store.tokens(0, len(flat)).tolist() == [token for token, _ in flat]
  assert store.loss(0, len(flat)).tolist() == [flag for _, flag in flat]

  length = data.draw(st.integers(1, len(flat)))
  starts = data.draw(
    st.lists(st.integers(0, len(flat) - length), min_size=1, max_size=5)
  )
  tokens, (rows, columns) = store.gather(np.array(starts), length)
  assert tokens.dtype == np.int32
  begun = list(zip(rows.tolist(), columns.tolist(), strict=True))
  for row, start in enumerate(starts):
    expected = [token for token, _ in flat[start : start + length]]
    assert tokens[row].tolist() == expected
    owners = numbers[start : start + length]
    assert [place for r, place in begun if r == row] == [
      place for place in range(1, length) if owners[place] != owners[place - 1]
    ]

  lengths = [data.draw(st.integers(0, len(flat) - start)) for start in starts]
  stretches = store.gather_tokens(np.array(starts), np.array(lengths))
  flags = store.gather_loss(np.array(starts), np.array(lengths))
  for start, n, stretch, flag in zip(starts, lengths, stretches, flags):
    pairs = list(zip(stretch.tolist(), flag.tolist(), strict=True))
    assert pairs == flat[start : start + n]


@pytest.mark.parametrize(
  ('size', 'dtype'), [(256, 'uint8'), (257, 'uint16'), (2**16 + 1, 'uint32')]
)
def test_tokens_take_no_more_bytes_than_needed(tmp_path, size, dtype):
  store = tiny_store(tmp_path, 'x', [[0, size - 1]], vocabulary_size=size)
  assert store.manifest.dtype == dtype
  assert store.tokens(0, 2).tolist() == [0, size - 1]
  assert store.loss(0, 2).tolist() == [True, True]
  assert not open_folder(store.directory).sizes('loss')


def test_the_fingerprint_is_of_the_content(tmp_path):
  def fingerprint(folder, documents, **fields):
    return tiny_store(tmp_path / folder, 'x', documents, **fields).fingerprint

  one = fingerprint('1', [[3, 4], [5]])
  assert fingerprint('2', [[3, 4], [], [5]], chunk_tokens=1) == one
  others = [
    fingerprint('3', [[3], [4, 5]]),
    fingerprint('4', [[3, 4], [6]]),
    fingerprint('5', [[5], [3, 4]]),
    fingerprint('6', [[3, 4], [5]], vocabulary_size=258),
    fingerprint('7', [[3, 4], [5]], whole=True),
    fingerprint('8', [[3, 4], [5]], losses=[[1, 1], [1]]),
    fingerprint('9', [[3, 4], [5]], losses=[[0, 1], [1]]),
  ]
  assert len({one, *others}) == 8


def test_a_store_in_memory_has_the_bytes_of_one_on_a_disk(tmp_path):
  contents = []
  for place in places(tmp_path):
    tiny_store(place, 'x', ['one', 'two', 'three'], chunk_tokens=4)
    folder = open_folder(f'{place}/x/train-tiny')
    names = list(folder.sizes())
    contents.append(dict(zip(names, folder.read(names))))
  assert contents[0] == contents[1] == contents[2]
  assert len(contents[0]) == 9


def test_a_shard_of_many_tokens_gets_several_files(tmp_path, monkeypatch):
  monkeypatch.setattr(writer, 'PART_BYTES', 20)
  documents = [list(range(n)) for n in (3, 8, 1, 100, 2)]
  losses = [[token % 2 for token in document] for document in documents]
  store = tiny_store(tmp_path, 'x', documents, losses=losses)
  assert store.manifest.pieces == [[11, 101, 2]]
  tokens = [token for document in documents for token in document]
  assert store.tokens(0, 114).tolist() == tokens
  assert store.loss(0, 114).tolist() == [token % 2 == 1 for token in tokens]
  assert store.document(3).tolist() == documents[3]


def test_the_text_is_counted_in_bytes(tmp_path):
  folder = open_folder(tmp_path / 'x/train-0')
  documents = [Document(np.array([1]), 'äöü 🙂'), None, Document([], 'x')]
  counts = Counter(bad=2)
  header = StoreHeader('x', 'train', 9)
  record = write_piece(folder, 0, header, documents, counts)
  assert record['bytes'] == 11
  manifest = finish(folder, header, 1).manifest
  assert manifest.num_bytes == 11
  assert manifest.counts == {'bad': 2, 'empty': 2}


@pytest.mark.parametrize('token', [-1, 259])
def test_a_token_outside_of_the_vocabulary_is_told(tmp_path, token):
  with pytest.raises(UserError, match=f'token {token} is not in its vocab'):
    tiny_store(tmp_path, 'x', [[3, token]])
  assert find_stores(tmp_path / 'x', 'train') == []


def test_a_missing_piece_is_told_and_finishing_twice_changes_nothing(tmp_path):
  header = StoreHeader('x', 'train', 9)
  folder = open_folder(tmp_path / 'x/train-0')
  for shard, tokens in [(0, [1, 2]), (2, [3])]:
    document = Document(np.array(tokens), '')
    write_piece(folder, shard, header, [document], Counter())
  with pytest.raises(UserError, match=r'1 of 3 pieces are missing.*00001'):
    finish(folder, header, 3)
  write_piece(folder, 1, header, [], Counter())
  store = finish(folder, header, 3)
  assert store.tokens(0, 3).tolist() == [1, 2, 3]
  names = list(folder.sizes())
  before = folder.read(names)
  write_piece(folder, 1, header, [], Counter())
  assert finish(folder, header, 3).fingerprint == store.fingerprint
  assert list(folder.sizes()) == names
  assert folder.read(names) == before


def test_splits_with_like_names_are_kept_apart(tmp_path):
  for place in places(tmp_path):
    tiny_store(place, 'x', ['long'], split='train-long')
    tiny_store(place, 'x', ['short'], split='train')
    for split in ('train', 'train-long'):
      [found] = find_stores(f'{place}/x', split)
      assert TokenStore(found).manifest.split == split
    assert find_stores(f'{place}/x', 'tra') == []
    assert find_stores(f'{place}/y', 'train') == []


def test_what_is_no_store_is_passed_over_and_told(tmp_path, capsys):
  tiny_store(tmp_path, 'x', ['good'])
  for name, content in [
    ('old', '{"format": 1, "chunk_tokens": 9}'),
    ('damaged', '{"format": 2, "task'),
    ('strange', '[]'),
  ]:
    shutil.copytree(tmp_path / 'x/train-tiny', tmp_path / f'x/train-{name}')
    (tmp_path / f'x/train-{name}' / MANIFEST).write_text(content)
  (tmp_path / 'x/train-unfinished').mkdir()
  found = find_stores(tmp_path / 'x', 'train')
  assert found == [str(tmp_path / 'x/train-tiny')]
  told = capsys.readouterr().err
  assert f'train-damaged/{MANIFEST} is damaged' in told
  assert f'train-strange/{MANIFEST} is damaged' in told
  assert 'old' not in told
  with pytest.raises(UserError, match='is damaged'):
    TokenStore(tmp_path / 'x/train-damaged')
  for name in ('old', 'unfinished', 'absent'):
    with pytest.raises(UserError, match='no finished store of format 2'):
      TokenStore(tmp_path / f'x/train-{name}')


@pytest.mark.parametrize(
  'name', ['tokens-00001-000.bin', 'loss-00000-000.bin', 'documents.bin']
)
def test_a_missing_or_short_file_is_told(tmp_path, name):
  fields = {'chunk_tokens': 2, 'losses': [[1, 0]] * 2}
  tiny_store(tmp_path / 'short', 'x', [[1, 2]] * 2, **fields)
  path = tmp_path / 'short/x/train-tiny' / name
  path.write_bytes(path.read_bytes()[:-1])
  with pytest.raises(UserError, match=rf'{name} has \d+ bytes instead of'):
    TokenStore(path.parent)
  for place in places(tmp_path):
    store = tiny_store(place, 'x', [[1, 2]] * 2, **fields)
    open_folder(store.directory).delete([name])
    with pytest.raises(UserError, match=f'{name} is missing'):
      TokenStore(store.directory)


def test_the_index_of_a_remote_store_is_copied(tmp_path, monkeypatch):
  monkeypatch.setattr(object_storage, 'COPIES', str(tmp_path / 'indexes'))
  store = tiny_store('memory://index/x', 'x', ['one', 'three'])
  assert store.offsets.tolist() == [0, 4, 10]
  assert len(list((tmp_path / 'indexes').iterdir())) == 1


def test_documents_can_be_read_alone(tmp_path):
  documents = counting_documents(3, 5)
  store = tiny_store(tmp_path, 'x', documents, chunk_tokens=4)
  assert store.document(1).tolist() == documents[1].tolist()
  manifest = json.loads((tmp_path / 'x/train-tiny' / MANIFEST).read_text())
  assert manifest['num_documents'] == 3
