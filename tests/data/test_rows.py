import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.helpers import counting_documents, tiny_store
from tpu_lm.checks import UserError
from tpu_lm.data.layout import Layout
from tpu_lm.data.packed import PackedRows
from tpu_lm.data.packing import causal
from tpu_lm.data.rows import TextRows, open_rows


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
def test_an_epoch_reads_every_token_once(store, length, seed):
  rows = TextRows(store, Layout(length, mask_documents=False), seed, 'counting')
  blocks = rows.rows_per_epoch
  tokens = store.tokens(0, store.num_tokens)
  for epoch in (0, 3):
    batch = rows.read(epoch * blocks + np.arange(blocks))
    assert batch['inputs'].shape == (blocks, length)
    order = np.argsort(batch['inputs'][:, 0])
    inputs, targets = batch['inputs'][order], batch['targets'][order]
    assert inputs.ravel()[: len(tokens) - 1].tolist() == tokens[:-1].tolist()
    assert targets.ravel()[: len(tokens) - 1].tolist() == tokens[1:].tolist()
    for value in batch.values():  # what is left of the last row is padding
      assert not value[order].ravel()[len(tokens) - 1 :].any()
    assert batch['weights'].sum() == len(tokens) - 1


@pytest.mark.parametrize('mask_documents', [True, False])
def test_documents_are_kept_apart_where_asked(store, mask_documents):
  rows = TextRows(
    store, Layout(64, mask_documents=mask_documents), 0, 'counting'
  )
  batch = rows.read(np.arange(rows.rows_per_epoch))
  tokens = np.concatenate([batch['inputs'], batch['targets'][:, -1:]], axis=1)
  documents = (tokens - 2) // 41
  begun, places = np.nonzero(np.diff(documents, axis=1))
  expected = causal(tokens, (begun, places + 1), mask_documents)
  assert batch.keys() == expected.keys()
  for key, value in batch.items():
    assert np.array_equal(value, expected[key]), key


def test_epochs_seeds_and_names_have_their_own_orders(store):
  first = np.arange(20)
  orders = {
    TextRows(store, Layout(10), seed, name)
    .read(start + first)['inputs']
    .tobytes()
    for seed, name, start in [
      (0, 'a', 0),
      (1, 'a', 0),
      (0, 'b', 0),
      (0, 'a', 102),
    ]
  }
  assert len(orders) == 4


def test_rows_can_be_read_in_any_order(store):
  rows = TextRows(store, Layout(7), 0, 'counting')
  cursors = np.array([400, 3, 3, 12345, 0])
  batch = rows.read(cursors)
  for place, cursor in enumerate(cursors):
    alone = rows.read(np.array([cursor]))
    for key, value in batch.items():
      assert np.array_equal(value[place], alone[key][0]), key


def test_stores_of_less_than_a_row(store, tmp_path):
  assert TextRows(store, Layout(1024), 0, 'counting').rows_per_epoch == 1
  rows = TextRows(store, Layout(2000), 0, 'counting')
  assert rows.rows_per_epoch == 1
  batch = rows.read(np.array([5]))
  # Nothing predicts the first token of the 25 documents.
  assert batch['weights'].sum() == store.num_tokens - 25
  assert np.count_nonzero(batch['segments']) == store.num_tokens - 1
  single = tiny_store(tmp_path, 'single', [[7]])
  with pytest.raises(UserError, match=r'single \(train\) has one token'):
    TextRows(single, Layout(8), 0, 'single')


def test_whole_documents_are_packed_and_text_is_cut(store, tmp_path):
  documents = counting_documents(documents=5, length=9)
  whole = tiny_store(tmp_path, 'whole', documents, whole=True)
  assert isinstance(open_rows(whole, Layout(16), 0, 'whole'), PackedRows)
  assert isinstance(open_rows(store, Layout(16), 0, 'counting'), TextRows)
