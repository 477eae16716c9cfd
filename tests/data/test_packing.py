import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tpu_lm.data.packing import causal, packed, pad_rows


def starts_of(documents):
  """Where the number of the document changes, as `causal` takes it."""
  rows, places = np.nonzero(documents[:, 1:] != documents[:, :-1])
  return rows, places + 1


@st.composite
def rows(draw):
  batch = draw(st.integers(1, 4))
  length = draw(st.integers(1, 30))
  steps = draw(
    st.lists(
      st.lists(st.integers(0, 1), min_size=length + 1, max_size=length + 1),
      min_size=batch,
      max_size=batch,
    )
  )
  documents = np.cumsum(steps, axis=1) + 5
  tokens = np.arange(documents.size).reshape(documents.shape)
  return tokens, documents


def test_the_example_of_causal():
  tokens = np.array([[97, 98, 1, 99, 100, 101]])
  documents = np.array([[7, 7, 7, 8, 8, 8]])
  batch = causal(tokens, starts_of(documents))
  assert {key: value[0].tolist() for key, value in batch.items()} == {
    'inputs': [97, 98, 1, 99, 100],
    'targets': [98, 1, 99, 100, 101],
    'weights': [1, 1, 0, 1, 1],
    'segments': [1, 1, 1, 2, 2],
    'positions': [0, 1, 2, 0, 1],
  }


@given(rows())
def test_nothing_crosses_documents(row):
  tokens, documents = row
  batch = causal(tokens, starts_of(documents))
  for b in range(len(tokens)):
    for document in np.unique(documents[b]):
      # Every document, rebuilt from the batch: one segment, positions from 0.
      here = documents[b, :-1] == document
      if here.any():
        assert len(set(batch['segments'][b, here].tolist())) == 1
        assert batch['positions'][b, here].tolist() == list(range(here.sum()))
    segments = batch['segments'][b]
    assert segments[0] == 1
    assert len(set(segments.tolist())) == len(set(documents[b, :-1].tolist()))
    # A loss wherever input and target are of one document, nowhere else.
    same = documents[b, 1:] == documents[b, :-1]
    assert np.array_equal(batch['weights'][b], same)


@given(rows())
def test_targets_follow_inputs(row):
  tokens, documents = row
  for mask_documents in (True, False):
    batch = causal(tokens, starts_of(documents), mask_documents)
    assert np.array_equal(batch['inputs'], tokens[:, :-1])
    assert np.array_equal(batch['targets'], tokens[:, 1:])
    assert {key: str(value.dtype) for key, value in batch.items()} == {
      'inputs': 'int32',
      'targets': 'int32',
      'weights': 'float32',
      'segments': 'int32',
      'positions': 'int32',
    }


@given(rows())
def test_unmasked_rows_are_one_segment(row):
  tokens, documents = row
  batch = causal(tokens, starts_of(documents), mask_documents=False)
  assert np.all(batch['weights'] == 1)
  assert np.all(batch['segments'] == 1)
  assert np.all(batch['positions'] == np.arange(batch['inputs'].shape[1]))


def test_padding_has_no_weight():
  batch = causal(np.ones((2, 5)), starts_of(np.zeros((2, 5))))
  batch['source'] = np.ones(2, np.int32)
  padded = pad_rows(batch, 4)
  assert all(len(value) == 4 for value in padded.values())
  assert padded['source'].dtype == np.int32
  assert np.all(padded['weights'][2:] == 0)
  assert np.all(padded['segments'][2:] == 0)


def test_the_example_of_packed():
  a, b, c, d, e, end = 97, 98, 99, 100, 101, 1
  documents = [np.array([a, b, c, end]), np.array([d, e, end])]
  losses = [np.array([1, 0, 1, 1], bool), np.array([0, 1, 1], bool)]
  rows = np.array([0, 0])
  batch = packed(documents, losses, rows, batch=1, length=7)
  assert {key: value[0].tolist() for key, value in batch.items()} == {
    'inputs': [a, b, c, d, e, 0, 0],
    'targets': [b, c, end, e, end, 0, 0],
    'weights': [0, 1, 1, 1, 1, 0, 0],
    'segments': [1, 1, 1, 2, 2, 0, 0],
    'positions': [0, 1, 2, 0, 1, 0, 0],
  }


@st.composite
def packed_rows(draw):
  """Documents of tokens that all differ, the row of each, and a length."""
  batch = draw(st.integers(1, 4))
  per_row = [
    draw(st.lists(st.integers(2, 9), min_size=0, max_size=4))
    for _ in range(batch)
  ]
  sizes = [size for row in per_row for size in row]
  rows = np.repeat(np.arange(batch), [len(row) for row in per_row])
  room = max(sum(size - 1 for size in row) for row in per_row)
  length = max(1, room + draw(st.integers(0, 3)))
  tokens = np.split(np.arange(10, 10 + sum(sizes)), np.cumsum(sizes)[:-1])
  flags = draw(st.lists(st.booleans(), min_size=len(sizes) * 9))
  losses = [np.array(flags[9 * i :][:n], bool) for i, n in enumerate(sizes)]
  return tokens[: len(sizes)], losses, rows.astype(np.int64), batch, length


@given(packed_rows(), st.booleans(), st.booleans())
def test_packed_rows_hold_their_documents_and_nothing_else(
  row, masked, mask_documents
):
  documents, losses, rows, batch, length = row
  result = packed(
    documents, losses if masked else None, rows, batch, length, mask_documents
  )
  for number in range(batch):
    here = np.flatnonzero(rows == number)
    expected = {
      'inputs': [documents[i][:-1] for i in here],
      'targets': [documents[i][1:] for i in here],
      'weights': [
        losses[i][1:] if masked else np.ones(len(documents[i]) - 1)
        for i in here
      ],
      'segments': [
        np.full(len(documents[i]) - 1, place + 1 if mask_documents else 1)
        for place, i in enumerate(here)
      ],
    }
    used = sum(len(documents[i]) - 1 for i in here)
    for key, values in expected.items():
      whole = np.concatenate([*values, np.zeros(length - used)])
      assert np.array_equal(result[key][number], whole), key
    segments = result['segments'][number]
    for segment in set(segments[:used].tolist()):
      positions = result['positions'][number, segments == segment]
      assert positions.tolist() == list(range(len(positions)))
    assert not result['positions'][number, used:].any()
  assert {key: str(value.dtype) for key, value in result.items()} == {
    'inputs': 'int32',
    'targets': 'int32',
    'weights': 'float32',
    'segments': 'int32',
    'positions': 'int32',
  }
