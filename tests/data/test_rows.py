import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.helpers import counting_documents, tiny_store
from tpu_lm.checks import UserError
from tpu_lm.data.rows import Rows


@pytest.fixture(scope='module')
def store(tmp_path_factory):
  documents = counting_documents(documents=25, length=41)
  return tiny_store(
    tmp_path_factory.mktemp('stores'),
    'counting',
    documents,
    vocabulary_size=5000,
    chunk_tokens=100,
  )


@settings(deadline=None)
@given(length=st.integers(1, 300), seed=st.integers(0, 5))
def test_an_epoch_reads_every_block_once(store, length, seed):
  rows = Rows(store, length, seed, 'counting')
  blocks = rows.rows_per_epoch
  assert blocks == (store.num_tokens - 1) // length
  for epoch in (0, 3):
    tokens, _ = rows.read(epoch * blocks + np.arange(blocks))
    assert tokens.shape == (blocks, length + 1)
    assert np.all(np.diff(tokens, axis=1) == 1)
    first = np.sort(tokens[:, 0]) - 2
    assert np.array_equal(first, np.arange(blocks) * length)


def test_documents_are_numbered(store):
  tokens, documents = Rows(store, 64, 0, 'counting').read(np.arange(9))
  assert np.array_equal(documents, (tokens - 2) // 41)


def test_epochs_seeds_and_names_have_their_own_orders(store):
  first = np.arange(20)
  orders = {
    Rows(store, 10, seed, name).read(start + first)[0].tobytes()
    for seed, name, start in [
      (0, 'a', 0),
      (1, 'a', 0),
      (0, 'b', 0),
      (0, 'a', 102),
    ]
  }
  assert len(orders) == 4


def test_rows_can_be_read_in_any_order(store):
  rows = Rows(store, 7, 0, 'counting')
  cursors = np.array([400, 3, 3, 12345, 0])
  tokens, _ = rows.read(cursors)
  for row, cursor in zip(tokens, cursors):
    assert np.array_equal(row, rows.read(np.array([cursor]))[0][0])


def test_a_store_too_small_is_told(store):
  with pytest.raises(UserError, match=r'counting has 1,025 tokens.* 1025'):
    Rows(store, 1025, 0, 'counting')
  assert Rows(store, 1024, 0, 'counting').rows_per_epoch == 1
