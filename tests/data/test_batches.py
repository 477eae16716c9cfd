import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.helpers import tiny_corpus, tiny_store
from tpu_lm.checks import UserError
from tpu_lm.data.batches import BatchBuilder
from tpu_lm.data.layout import Layout
from tpu_lm.data.ledger import Ledger
from tpu_lm.data.mixing import Mixture

LENGTH = 16
NAMES = ('german', 'prose', 'python')
MIXTURE = Mixture(
  {'prose': 1, 'python': 2}, changes={3: {'python': 1, 'german': 1}}
)


@pytest.fixture(scope='module')
def corpus(tmp_path_factory):
  texts = {name: [name[:2] * 20] * 40 for name in NAMES}
  return tiny_corpus(tmp_path_factory.mktemp('stores'), texts)


def run(corpus, steps, batch_size=8, ledger=None, start=0, **arguments):
  entry = Ledger(seed=5)
  ledger = ledger or entry
  builder = BatchBuilder(
    corpus, MIXTURE, batch_size, Layout(LENGTH), entry, **arguments
  )
  batches = []
  for step in range(start, start + steps):
    batch, ledger = builder.next(step, ledger)
    batches.append(batch)
  return batches, ledger


def test_batches_have_the_agreed_shapes(corpus):
  (batch,), _ = run(corpus, 1)
  assert {k: (v.shape, str(v.dtype)) for k, v in batch.items()} == {
    'inputs': ((8, LENGTH), 'int32'),
    'targets': ((8, LENGTH), 'int32'),
    'weights': ((8, LENGTH), 'float32'),
    'segments': ((8, LENGTH), 'int32'),
    'positions': ((8, LENGTH), 'int32'),
    'source': ((8,), 'int32'),
  }


def test_source_says_where_a_row_is_from(corpus):
  batches, _ = run(corpus, 6)
  builder = BatchBuilder(corpus, MIXTURE, 8, Layout(LENGTH), Ledger())
  assert builder.names == NAMES
  assert builder.vocabulary_size == 259
  for step, batch in enumerate(batches):
    drawn = {NAMES[source] for source in batch['source']}
    assert drawn == ({'prose', 'python'} if step < 3 else {'python', 'german'})
    for inputs, source in zip(batch['inputs'], batch['source']):
      letters = {ord(letter) + 3 for letter in NAMES[source][:2]}
      assert {*inputs.tolist()} - {0, 1} == letters


def test_the_ledger_counts_rows_and_tokens(corpus):
  _, ledger = run(corpus, 6)
  assert ledger.seed == 5
  assert ledger.rows == {'prose@16': 8, 'python@16': 28, 'german@16': 12}
  assert ledger.tokens == {'prose': 128, 'python': 448, 'german': 192}
  assert set(ledger.stores) == {'prose', 'python', 'german'}
  assert sum(ledger.debts.values()) == 0


@settings(max_examples=20, deadline=None)
@given(stop=st.integers(1, 7))
def test_a_new_builder_goes_on_where_another_stopped(corpus, stop):
  whole, end = run(corpus, 8)
  first, ledger = run(corpus, stop)
  ledger = Ledger.from_json(json.loads(json.dumps(ledger.to_json())))
  rest, resumed_end = run(corpus, 8 - stop, ledger=ledger, start=stop)
  assert resumed_end == end
  for one, other in zip(whole, first + rest, strict=True):
    assert all(np.array_equal(one[key], other[key]) for key in one)


def test_batch_size_does_not_change_the_rows(corpus):
  def rows(batch_size, steps):
    entry, out = Ledger(), []
    mixture = Mixture({'prose': 1, 'python': 2})
    builder = BatchBuilder(corpus, mixture, batch_size, Layout(LENGTH), entry)
    for step in range(steps):
      batch, entry = builder.next(step, entry)
      out.append(np.concatenate([batch['source'][:, None], batch['inputs']], 1))
    return np.concatenate(out)

  assert np.array_equal(rows(12, 10), rows(5, 24))
  assert np.array_equal(rows(12, 10), rows(120, 1))


def test_building_is_pure(corpus):
  builder = BatchBuilder(corpus, MIXTURE, 8, Layout(LENGTH), Ledger())
  _, ledger = builder.next(0, Ledger())
  again = [builder.next(1, ledger) for _ in range(2)]
  assert again[0][1] == again[1][1]
  assert np.array_equal(again[0][0]['inputs'], again[1][0]['inputs'])


def test_documents_may_be_left_together(corpus):
  layout = Layout(LENGTH, mask_documents=False)
  batch, _ = BatchBuilder(corpus, MIXTURE, 8, layout, Ledger()).next(
    0, Ledger()
  )
  assert np.array_equal(batch['weights'], batch['segments'] > 0)
  assert np.all(batch['segments'] <= 1)


def test_changed_data_begin_anew_in_a_new_phase_only(tmp_path):
  def at(folder, text):
    return tiny_corpus(folder, {'prose': [text * 100], 'python': ['y ' * 200]})

  old, new = at(tmp_path / 'old', 'old '), at(tmp_path / 'new', 'new ')
  mixture = Mixture({'prose': 1, 'python': 1})
  builder = BatchBuilder(old, mixture, 4, Layout(LENGTH), Ledger())
  _, ledger = builder.next(0, Ledger())
  assert ledger.rows == {'prose@16': 2, 'python@16': 2}

  same_phase = BatchBuilder(new, mixture, 4, Layout(LENGTH), Ledger())
  with pytest.raises(UserError, match='prose: its tokens have changed'):
    same_phase.next(1, ledger)

  replayed = {'replay:prose@16': 5, 'replay:python@16': 3}
  ledger = dataclasses.replace(ledger, rows={**ledger.rows, **replayed})
  child = BatchBuilder(new, mixture, 4, Layout(LENGTH), ledger)
  _, after = child.next(0, ledger)
  assert after.rows == {'prose@16': 2, 'python@16': 4, 'replay:python@16': 3}
  assert after.tokens == {'prose': 64, 'python': 64}
  assert after.stores['prose'] != ledger.stores['prose']


def test_vocabularies_are_not_mixed(tmp_path):
  tiny_store(tmp_path, 'other', ['x' * 99], vocabulary_size=300)
  corpus = tiny_corpus(tmp_path, {'prose': ['x' * 99]})
  with pytest.raises(UserError, match='other and prose have different vocab'):
    BatchBuilder(
      corpus, Mixture({'prose': 1, 'other': 1}), 4, Layout(8), Ledger()
    )


def test_a_weight_too_small_to_count_is_told(corpus):
  with pytest.raises(UserError, match='would never be drawn'):
    BatchBuilder(
      corpus, Mixture({'prose': 1, 'python': 1e-11}), 4, Layout(8), Ledger()
    )


@pytest.mark.parametrize('sizes', [(0, 8), (4, 0), (2.5, 8)])
def test_sizes_are_checked(corpus, sizes):
  with pytest.raises(UserError, match='must be an integer >= 1'):
    rows, length = sizes
    mixture = Mixture({'prose': 1})
    BatchBuilder(corpus, mixture, rows, Layout(length), Ledger())
