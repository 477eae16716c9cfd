import collections

import numpy as np
import pytest

from tests.data.helpers import tiny_store
from tpu_lm.checks import UserError
from tpu_lm.data import pairs as pairs_module
from tpu_lm.data.layout import ENCODER_DECODER, PREFIX_DECODER, Layout
from tpu_lm.data.pairs import PairRows
from tpu_lm.data.rows import open_rows
from tpu_lm.data.special_tokens import SpecialTokens

LAYOUT = Layout(24, ENCODER_DECODER, 16)


def special(store):
  return SpecialTokens().of(store)


def make(tmp_path, count=300, seed=0):
  """Examples of 1 to 20 tokens read and 2 to 12 written, the last one 1."""
  random = np.random.default_rng(seed)
  documents, losses, sides = [], [], []
  for _ in range(count):
    read, written = random.integers(1, 21), random.integers(1, 12)
    tokens = [*random.integers(3, 259, read + written), 1]
    documents.append(tokens)
    losses.append([False] * read + [True] * (written + 1))
    sides.append((tuple(tokens[:read]), tuple(tokens[read:])))
  store = tiny_store(tmp_path, 'p', documents, losses=losses, whole=True)
  return store, sides


def sides_of(batch):
  """(inputs, targets) of every example, end marks left in the targets."""
  found = []
  for row in range(len(batch['inputs'])):
    last = max(batch['segments'][row])
    assert last == max(batch['encoder_segments'][row])
    for number in range(1, last + 1):
      here = batch['encoder_segments'][row] == number
      there = batch['segments'][row] == number
      read = batch['encoder_inputs'][row][here].tolist()
      targets = batch['targets'][row][there].tolist()
      assert read.pop() == 1
      assert batch['inputs'][row][there].tolist() == [0, *targets[:-1]]
      for places in (
        batch['positions'][row][there],
        batch['encoder_positions'][row][here],
      ):
        assert places.tolist() == list(range(len(places)))
      found.append((tuple(read), tuple(targets)))
  return found


def test_every_example_once_an_epoch_and_whole(tmp_path, monkeypatch):
  monkeypatch.setattr(pairs_module, 'STRETCH', 100)  # flags in many stretches
  store, sides = make(tmp_path)
  rows = PairRows(store, LAYOUT, 0, 'p', special(store))
  assert rows.label == '24+16'
  epochs = []
  for epoch in range(2):
    first = epoch * rows.rows_per_epoch
    batch = rows.read(first + np.arange(rows.rows_per_epoch))
    assert batch['encoder_inputs'].shape == (rows.rows_per_epoch, 24)
    assert batch['inputs'].shape == (rows.rows_per_epoch, 16)
    assert np.array_equal(batch['weights'], batch['segments'] > 0)
    epochs.append(sides_of(batch))
    assert collections.Counter(epochs[-1]) == collections.Counter(sides)
  assert epochs[0] != epochs[1]
  assert rows.fill > 0.8


def test_rows_do_not_depend_on_what_is_read_with_them(tmp_path):
  store, _ = make(tmp_path)
  rows = open_rows(store, LAYOUT, 3, 'p', special_tokens=special)
  cursors = np.array([90, 3, 3, 1234])
  batch = rows.read(cursors)
  for place, cursor in enumerate(cursors):
    alone = rows.read(np.array([cursor]))
    for key, value in batch.items():
      assert np.array_equal(value[place], alone[key][0]), key


def test_loss_in_the_midst_of_targets_is_kept(tmp_path):
  flags = [False, False, True, False, True]
  store = tiny_store(
    tmp_path, 'p', [[5, 6, 7, 8, 1]], losses=[flags], whole=True
  )
  layout = Layout(4, ENCODER_DECODER, 4)
  batch = PairRows(store, layout, 0, 'p', special(store)).read(np.arange(1))
  assert batch['encoder_inputs'].tolist() == [[5, 6, 1, 0]]
  assert batch['targets'].tolist() == [[7, 8, 1, 0]]
  assert batch['weights'].tolist() == [[1, 0, 1, 0]]


def test_what_is_too_long_on_either_side_is_left_out(tmp_path):
  documents = [[5] * 9 + [1], [5, 1], [5] * 3 + [6] * 9 + [1]]
  losses = [[False] * 8 + [True] * 2, [False, True], [False] * 3 + [True] * 10]
  store = tiny_store(tmp_path, 'p', documents, losses=losses, whole=True)
  layout = Layout(8, ENCODER_DECODER, 8)
  assert PairRows(store, layout, 0, 'p', special(store)).left_out == 2
  with pytest.raises(UserError, match='none of its 3 documents'):
    PairRows(store, Layout(1, ENCODER_DECODER, 1), 0, 'p', special(store))


def test_examples_need_inputs_of_their_own(tmp_path):
  store = tiny_store(tmp_path, 'p', [[5, 6, 1]], whole=True)
  with pytest.raises(UserError, match='nothing for an encoder to read'):
    open_rows(store, LAYOUT, 0, 'p', special_tokens=special)


def test_a_prefix_decoder_sees_the_inputs_both_ways(tmp_path):
  store, _ = make(tmp_path)
  layout = Layout(64, PREFIX_DECODER)
  batch = open_rows(store, layout, 0, 'p').read(np.arange(9))
  for row in range(9):
    for number in range(1, max(batch['segments'][row]) + 1):
      here = batch['segments'][row] == number
      weights, prefix = batch['weights'][row][here], batch['prefix'][row][here]
      read = 1 + int(np.argmax(weights))  # the last input predicts with loss
      assert prefix.tolist() == [1] * read + [0] * (len(weights) - read)
