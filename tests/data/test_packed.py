import csv
import gzip
import json
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.helpers import tiny_store
from tpu_lm.checks import UserError
from tpu_lm.data.layout import Layout
from tpu_lm.data.packed import PackedRows

DATA = pathlib.Path(__file__).parents[3] / 'shared' / 'data'


def make_store(folder, sizes, name='examples', masked=True):
  """A store of documents whose tokens all differ, with a loss on some."""
  starts = np.cumsum([0, *sizes])
  documents = [start + 2 + np.arange(n) for start, n in zip(starts, sizes)]
  losses = [tokens % 3 == 0 for tokens in documents] if masked else None
  return tiny_store(
    folder,
    name,
    documents,
    vocabulary_size=int(starts[-1]) + 2,
    losses=losses,
    whole=True,
  )


@pytest.fixture(scope='module')
def sizes():
  return np.random.default_rng(1).integers(2, 60, 400).tolist()


@pytest.fixture(scope='module')
def store(tmp_path_factory, sizes):
  return make_store(tmp_path_factory.mktemp('stores'), sizes)


def documents_of(batch, mask_documents=True):
  """The documents of a batch, token by token from its rows."""
  found = []
  for inputs, targets, segments in zip(
    batch['inputs'], batch['targets'], batch['segments']
  ):
    for segment in range(1, segments.max() + 1):
      here = segments == segment
      found.append((*inputs[here].tolist(), int(targets[here][-1])))
  return found


@settings(deadline=None, max_examples=30)
@given(
  length=st.integers(1, 200), seed=st.integers(0, 3), part=st.integers(1, 9)
)
def test_an_epoch_reads_every_document_that_fits_once(
  store, sizes, length, seed, part
):
  rows = PackedRows(store, Layout(length), seed, 'examples')
  expected = sorted(
    tuple(store.document(i).tolist())
    for i, size in enumerate(sizes)
    if size - 1 <= length
  )
  assert rows.left_out == len(sizes) - len(expected)
  for epoch in (0, 2):
    start, found = epoch * rows.rows_per_epoch, []
    for first in range(0, rows.rows_per_epoch, part):
      last = min(first + part, rows.rows_per_epoch)
      found += documents_of(rows.read(start + np.arange(first, last)))
    assert sorted(found) == expected


def test_a_row_says_what_the_store_says(store):
  rows = PackedRows(store, Layout(128), 0, 'examples')
  batch = rows.read(np.arange(rows.rows_per_epoch))
  used = batch['segments'] > 0
  assert rows.fill == pytest.approx(used.mean())
  assert np.array_equal(batch['weights'][used], batch['targets'][used] % 3 == 0)
  for key, value in batch.items():
    assert not value[~used].any(), key
  same = np.diff(batch['segments'], axis=1) == 0
  both = same & used[:, 1:]
  assert np.all(np.diff(batch['positions'], axis=1)[both] == 1)
  assert not batch['positions'][:, 1:][~same].any()
  assert np.array_equal(batch['targets'][used], batch['inputs'][used] + 1)


def test_documents_may_share_their_attention(store):
  apart = PackedRows(store, Layout(128), 0, 'examples').read(np.arange(20))
  joined = PackedRows(
    store, Layout(128, mask_documents=False), 0, 'examples'
  ).read(np.arange(20))
  used = apart['segments'] > 0
  for key in ('inputs', 'targets', 'weights'):
    assert np.array_equal(apart[key], joined[key]), key
  assert np.array_equal(joined['segments'], used)
  places = np.broadcast_to(np.arange(128), used.shape)
  assert np.array_equal(joined['positions'], np.where(used, places, 0))


def test_without_flags_every_target_has_weight(tmp_path):
  store = make_store(tmp_path, [5, 9, 3], masked=False)
  batch = PackedRows(store, Layout(16), 0, 'examples').read(np.arange(1))
  assert np.array_equal(batch['weights'], batch['segments'] > 0)
  assert batch['weights'].sum() == 4 + 8 + 2


@settings(deadline=None)
@given(cursors=st.lists(st.integers(0, 10**6), min_size=1, max_size=9))
def test_any_batch_cuts_the_same_rows(store, cursors):
  rows = PackedRows(store, Layout(100), 0, 'examples')
  batch = rows.read(np.array(cursors))
  for place, cursor in enumerate(cursors):
    alone = rows.read(np.array([cursor]))
    for key, value in batch.items():
      assert np.array_equal(value[place], alone[key][0]), key


def test_epochs_seeds_and_names_have_their_own_rows(store):
  companies = []
  for seed, name, epoch in [(0, 'a', 0), (1, 'a', 0), (0, 'b', 0), (0, 'a', 1)]:
    rows = PackedRows(store, Layout(128), seed, name)
    cursors = epoch * rows.rows_per_epoch + np.arange(rows.rows_per_epoch)
    row, numbers = rows.documents(cursors)
    assert np.all(np.diff(row) >= 0)
    companies.append({tuple(numbers[row == r]) for r in range(row[-1] + 1)})
  for i, some in enumerate(companies):
    for others in companies[:i]:
      # Hardly a row holds the same documents as a row of another order.
      assert len(some & others) < 0.1 * len(some)


def test_lengths_alike_in_number_are_drawn_apart(tmp_path):
  # Every row holds one document of each length: who shares it must change.
  rows = PackedRows(make_store(tmp_path, [4, 6] * 20), Layout(8), 0, 'examples')
  pairs = []
  for epoch in range(2):
    _, numbers = rows.documents(20 * epoch + np.arange(20))
    pairs.append({frozenset(pair) for pair in numbers.reshape(20, 2).tolist()})
  assert len(pairs[0] & pairs[1]) < 6


def test_documents_left_out_are_told(tmp_path, capfd):
  store = make_store(tmp_path, [5, 18, 17, 90, 3, 1])
  rows = PackedRows(store, Layout(16), 0, 'chats')
  assert rows.left_out == 2
  assert rows.rows_per_epoch == 2
  PackedRows(store, Layout(16), 1, 'chats')
  assert capfd.readouterr().err == (
    'chats (train): 2 of 6 documents do not fit whole into rows of'
    ' sequence_length 16 and are left out (the longest needs 89)\n'
  )
  with pytest.raises(UserError, match=r'chats \(train\): none of its 6 .* 89'):
    PackedRows(store, Layout(1), 0, 'chats')


def test_only_end_tokens_make_no_row(tmp_path):
  store = make_store(tmp_path, [1, 1])
  with pytest.raises(UserError, match='none of its 2 documents'):
    PackedRows(store, Layout(8), 0, 'examples')


def restaurants():
  with gzip.open(DATA / 'eval' / 'e2e_nlg.devset.csv.gz', 'rt') as lines:
    return [(line['mr'], line['ref']) for line in csv.DictReader(lines)]


def school_mathematics():
  with gzip.open(DATA / 'math' / 'gsm8k.train.jsonl.gz', 'rt') as lines:
    records = map(json.loads, lines)
    return [(record['question'], record['answer']) for record in records]


@pytest.mark.skipif(not DATA.is_dir(), reason=f'needs {DATA}')
@pytest.mark.parametrize('every', [1, 6])  # all, and as many as a test split
@pytest.mark.parametrize('pairs', [restaurants, school_mathematics])
def test_real_pairs_fill_their_rows(tmp_path, pairs, every):
  texts = ['\n'.join(pair) for pair in pairs()[::every]]
  store = tiny_store(tmp_path, 'pairs', texts, chunk_tokens=10**6, whole=True)
  rows = PackedRows(store, Layout(1024), 0, 'pairs')
  assert rows.left_out < 0.03 * len(texts)
  used = rows.read(np.arange(rows.rows_per_epoch))['segments'] > 0
  assert used.mean() == pytest.approx(rows.fill)
  assert rows.fill >= 0.97


@pytest.mark.skipif(not DATA.is_dir(), reason=f'needs {DATA}')
@pytest.mark.parametrize('pairs', [restaurants, school_mathematics])
def test_real_pairs_fill_their_rows_in_pieces_of_words(tmp_path, pairs):
  sentencepiece = pytest.importorskip('sentencepiece')
  model = DATA / 'tokenizers' / 'sp_test_model.model'
  encode = sentencepiece.SentencePieceProcessor(model_file=str(model)).encode
  texts = [
    encode(inputs + '\n') + encode(out) + [1] for inputs, out in pairs()[::3]
  ]
  store = tiny_store(
    tmp_path,
    'pairs',
    texts,
    vocabulary_size=1000,
    chunk_tokens=10**6,
    whole=True,
  )
  assert PackedRows(store, Layout(512), 0, 'pairs').fill >= 0.97
