import numpy as np
import pytest

from tpu_lm.checks import UserError
from tpu_lm.data.layout import (
  DECODER,
  ENCODER_DECODER,
  PREFIX_DECODER,
  Layout,
)
from tpu_lm.data.noise.base import Pairs, Ragged
from tpu_lm.data.placing import place_pairs, place_texts, read_before_loss
from tpu_lm.data.special_tokens import Special

SPECIAL = Special(20, '', end=1, start=0, sentinels=0, ids={})
A, B, C, D = 11, 12, 13, 14


def pairs(positions=None):
  """`a b -> c d`, and ` -> a`."""
  inputs = Ragged(np.array([A, B], np.int32), np.array([2, 0]))
  targets = Ragged(np.array([C, D, A], np.int32), np.array([2, 1]))
  return Pairs(inputs, targets, np.zeros(2, np.int64), positions)


def test_one_after_the_other_for_a_decoder():
  batch = place_pairs(pairs(), SPECIAL, Layout(6))
  expected = {
    'inputs': [[A, B, C, D, 0, 0], [A, 0, 0, 0, 0, 0]],
    'targets': [[B, C, D, 1, 0, 0], [1, 0, 0, 0, 0, 0]],
    'weights': [[0, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0]],
    'segments': [[1, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0]],
    'positions': [[0, 1, 2, 3, 0, 0], [0, 0, 0, 0, 0, 0]],
  }
  assert {k: v.tolist() for k, v in batch.items()} == expected
  batch = place_pairs(pairs(), SPECIAL, Layout(6, PREFIX_DECODER))
  expected['prefix'] = [[1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
  assert {k: v.tolist() for k, v in batch.items()} == expected
  assert batch['weights'].dtype == np.float32
  assert {v.dtype for k, v in batch.items() if k != 'weights'} == {
    np.dtype(np.int32)
  }


def test_side_by_side_for_an_encoder_decoder():
  layout = Layout(4, ENCODER_DECODER, 5)
  batch = place_pairs(pairs(), SPECIAL, layout)
  assert {k: v.tolist() for k, v in batch.items()} == {
    'encoder_inputs': [[A, B, 1, 0], [1, 0, 0, 0]],
    'encoder_segments': [[1, 1, 1, 0], [1, 0, 0, 0]],
    'encoder_positions': [[0, 1, 2, 0], [0, 0, 0, 0]],
    'inputs': [[0, C, D, 0, 0], [0, A, 0, 0, 0]],
    'targets': [[C, D, 1, 0, 0], [A, 1, 0, 0, 0]],
    'weights': [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]],
    'segments': [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]],
    'positions': [[0, 1, 2, 0, 0], [0, 1, 0, 0, 0]],
  }
  counted = pairs(np.array([5, 6, 2], np.int32))
  batch = place_pairs(counted, SPECIAL, layout)
  assert batch['positions'].tolist() == [[5, 6, 7, 0, 0], [2, 3, 0, 0, 0]]


def test_texts_are_kept_apart_where_asked():
  texts = Ragged(np.array([A, 1, B, C, 1, D], np.int32), np.array([5, 1]))
  documents = np.array([1, 1, 2, 2, 2, 1], np.int32)
  batch = place_texts(texts, documents, Layout(5))
  assert {k: v.tolist() for k, v in batch.items()} == {
    'inputs': [[A, 1, B, C, 0], [0] * 5],
    'targets': [[1, B, C, 1, 0], [0] * 5],
    'weights': [[1, 0, 1, 1, 0], [0] * 5],
    'segments': [[1, 1, 2, 2, 0], [0] * 5],
    'positions': [[0, 1, 0, 1, 0], [0] * 5],
  }
  together = Layout(5, PREFIX_DECODER, mask_documents=False)
  batch = place_texts(texts, documents, together)
  assert batch['weights'][0].tolist() == [1, 1, 1, 1, 0]
  assert batch['positions'][0].tolist() == [0, 1, 2, 3, 0]
  assert not batch['prefix'].any()


def test_the_prefix_of_whole_examples_is_what_has_no_loss():
  batch = {
    'weights': np.array([[0, 1, 1, 1, 0, 1, 0, 1, 0]], np.float32),
    'segments': np.array([[1, 1, 1, 2, 3, 3, 3, 3, 0]]),
  }
  assert read_before_loss(batch).tolist() == [[1, 1, 0, 1, 1, 1, 0, 0, 0]]


@pytest.mark.parametrize(
  ('arguments', 'key'),
  [
    ((0,), 'sequence_length'),
    ((4, 'decodr'), 'layout.*decoder'),
    ((4, DECODER, 4), 'Phase.target_length = 4: is for encoder-decoders'),
  ],
)
def test_bad_layouts_are_told(arguments, key):
  with pytest.raises(UserError, match=key):
    Layout(*arguments)
  assert Layout(4).kind == DECODER
