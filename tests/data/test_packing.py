import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tpu_lm.data.packing import causal, pad_rows


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


def test_the_example_of_the_docstring():
  tokens = np.array([[97, 98, 1, 99, 100, 101]])
  documents = np.array([[7, 7, 7, 8, 8, 8]])
  batch = causal(tokens, documents)
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
  batch = causal(tokens, documents)
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
    batch = causal(tokens, documents, mask_documents)
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
  batch = causal(*row, mask_documents=False)
  assert np.all(batch['weights'] == 1)
  assert np.all(batch['segments'] == 1)
  assert np.all(batch['positions'] == np.arange(batch['inputs'].shape[1]))


def test_padding_has_no_weight():
  batch = causal(np.ones((2, 5)), np.zeros((2, 5)))
  batch['source'] = np.ones(2, np.int32)
  padded = pad_rows(batch, 4)
  assert all(len(value) == 4 for value in padded.values())
  assert padded['source'].dtype == np.int32
  assert np.all(padded['weights'][2:] == 0)
  assert np.all(padded['segments'][2:] == 0)
