import numpy as np
import pytest

from tests.data.helpers import counting_documents, tiny_corpus
from tpu_lm.checks import UserError
from tpu_lm.data.batches import BatchBuilder
from tpu_lm.data.layout import Layout
from tpu_lm.data.ledger import Ledger
from tpu_lm.data.mixing import Mixture
from tpu_lm.data.replay import Replay

LENGTH = 10


@pytest.fixture(scope='module')
def corpus(tmp_path_factory):
  # Every token number is of one place of one source.
  sources = {
    'prose': counting_documents(4, 250, start=2),
    'python': counting_documents(4, 250, start=2002),
    'german': counting_documents(4, 250, start=4002),
  }
  folder = tmp_path_factory.mktemp('stores')
  return tiny_corpus(folder, sources, vocabulary_size=6000)


def train(corpus, mixture, entry, steps, batch_size=8, **arguments):
  """Runs a phase; gives the first token of each row by source, the ledger."""
  length = arguments.pop('length', LENGTH)
  builder = BatchBuilder(
    corpus, mixture, batch_size, Layout(length), entry, **arguments
  )
  rows, ledger = {name: [] for name in builder.names}, entry
  for step in range(steps):
    batch, ledger = builder.next(step, ledger)
    for source, token in zip(batch['source'], batch['inputs'][:, 0].tolist()):
      rows[builder.names[source]].append(token)
  return rows, ledger


@pytest.fixture(scope='module')
def parent(corpus):
  """A phase that read 60 rows of prose and 20 of python, and its ledger."""
  return train(corpus, Mixture({'prose': 3, 'python': 1}), Ledger(seed=1), 10)


def child(order='seen', fraction=0.5, **fields):
  return Mixture({'german': 1}, replay=Replay(fraction, order, **fields))


def test_seen_is_read_in_its_order_over_and_over(corpus, parent):
  read, entry = parent
  rows, ledger = train(corpus, child(), entry, 40)
  assert set(rows) == {'german', 'replay:prose', 'replay:python'}
  prose = rows['replay:prose']
  assert len(prose) == 120
  assert prose == (read['prose'] * 2)
  assert rows['replay:python'] == read['python'] * 2
  # What a replay reads is counted apart, and the source's cursor stays.
  assert ledger.rows['prose@10'] == 60
  assert ledger.rows['replay:prose@10'] == 120
  assert ledger.tokens['replay:prose'] == 1200
  assert ledger.tokens['german'] == 1600


def test_shares_are_those_of_the_rows_read(corpus, parent):
  rows, _ = train(corpus, child(fraction=0.2), parent[1], 50)
  counts = {name: len(tokens) for name, tokens in rows.items()}
  assert counts == {'german': 320, 'replay:prose': 60, 'replay:python': 20}


def test_reshuffled_is_the_same_rows_in_new_orders(corpus, parent):
  read, entry = parent
  rows, _ = train(corpus, child('reshuffled'), entry, 40)
  first, second = rows['replay:prose'][:60], rows['replay:prose'][60:]
  assert sorted(first) == sorted(second) == sorted(read['prose'])
  assert first != second
  assert first != read['prose']


def test_unseen_goes_on_with_the_source(corpus, parent):
  read, entry = parent
  rows, ledger = train(corpus, child('unseen'), entry, 10)
  assert set(rows) == {'german', 'prose', 'python'}
  assert len(rows['prose']) == 30
  assert not set(rows['prose']) & set(read['prose'])
  assert ledger.rows['prose@10'] == 90


def test_unseen_adds_to_a_weight_of_the_mixture(corpus, parent):
  mixture = Mixture({'prose': 1}, replay=Replay(0.4, 'unseen'))
  rows, _ = train(corpus, mixture, parent[1], 10)
  assert {name: len(r) for name, r in rows.items()} == {
    'prose': 72,
    'python': 8,
  }


def test_fixed_is_a_first_few_rows(corpus, parent):
  read, entry = parent
  rows, _ = train(corpus, child('fixed', rows=8), entry, 10)
  assert rows['replay:prose'] == read['prose'][:6] * 5
  assert rows['replay:python'] == read['python'][:2] * 5
  # More than was read is all that was read.
  rows, _ = train(corpus, child('fixed', rows=9999), entry, 20)
  assert rows['replay:prose'] == read['prose']


def test_only_some_sources(corpus, parent):
  rows, _ = train(corpus, child(sources=['python']), parent[1], 10)
  assert rows['replay:python'] == parent[0]['python'] * 2


def test_only_one_ancestor(corpus, parent):
  _, first = parent
  mixture = Mixture({'prose': 1})
  read, second = train(corpus, mixture, first, 2)
  ancestors = {'one': (Ledger(seed=1), first), 'two': (first, second)}
  rows, _ = train(corpus, child(phase='two'), second, 8, ancestors=ancestors)
  assert rows['replay:prose'] == read['prose'] * 2
  rows, _ = train(corpus, child(phase='one'), second, 2, ancestors=ancestors)
  assert rows['replay:prose'] == parent[0]['prose'][:6]
  with pytest.raises(UserError, match=r'no ancestor.* Did you mean: one'):
    train(corpus, child(phase='ones'), second, 1, ancestors=ancestors)


def test_the_cursor_goes_on_along_the_lineage(corpus, parent):
  read, entry = parent
  _, middle = train(corpus, child(), entry, 5)
  assert middle.rows['replay:prose@10'] == 15
  rows, _ = train(corpus, child(), middle, 5)
  # German was read meanwhile: it is replayed too, prose from its 16th row on.
  assert 'replay:german' in rows
  count = len(rows['replay:prose'])
  assert rows['replay:prose'] == read['prose'][15 : 15 + count]
  # Replayed rows are not new ones: the pool of prose is what it was.
  assert middle.rows['prose@10'] == 60


def test_a_replay_resumes_exactly(corpus, parent):
  _, entry = parent
  mixture = child('reshuffled')
  builder = BatchBuilder(corpus, mixture, 8, Layout(LENGTH), entry)
  ledger, ledgers, batches = entry, [], []
  for step in range(10):
    ledgers.append(ledger)
    batch, ledger = builder.next(step, ledger)
    batches.append(batch)
  again = BatchBuilder(corpus, mixture, 8, Layout(LENGTH), entry)
  batch, after = again.next(9, ledgers[9])
  assert after == ledger
  assert np.array_equal(batch['inputs'], batches[9]['inputs'])


def test_nothing_read_is_told(corpus):
  with pytest.raises(UserError, match='the lineage has read no rows'):
    train(corpus, child(), Ledger(), 1)


def test_an_unread_source_is_told(corpus, parent):
  with pytest.raises(UserError, match="'german' has not been read"):
    train(corpus, child(sources=['german']), parent[1], 1)


def test_another_sequence_length_is_told(corpus, parent):
  with pytest.raises(UserError, match='was read at sequence length 10, not 20'):
    train(corpus, child(), parent[1], 1, length=20)
  rows, ledger = train(corpus, child('unseen'), parent[1], 2, length=20)
  assert len(rows['prose']) == 6
  assert ledger.rows['prose@20'] == 6


def test_a_changed_store_is_told(corpus, parent, tmp_path):
  other = tiny_corpus(
    tmp_path,
    {
      name: counting_documents(4, 240) for name in ('prose', 'python', 'german')
    },
    vocabulary_size=6000,
  )
  with pytest.raises(UserError, match='have changed since they were read'):
    train(other, child(), parent[1], 1)
  train(other, child('unseen'), parent[1], 1)


def test_an_ancestor_that_read_a_new_store_is_replayed_from_its_start(
  parent, tmp_path
):
  documents = {'prose': counting_documents(4, 240)}
  documents['german'] = counting_documents(4, 240, start=3000)
  other, (_, first) = tiny_corpus(tmp_path, documents, None, 6000), parent
  read, second = train(other, Mixture({'prose': 1}), first, 2)
  assert second.rows['prose@10'] == 16
  ancestors = {'two': (first, second)}
  rows, _ = train(other, child(phase='two'), second, 8, ancestors=ancestors)
  assert rows['replay:prose'] == read['prose'] * 2


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'fraction': 0}, r'Replay.fraction = 0: must be in \(0, 1\]'),
    ({'fraction': 1.5}, 'Replay.fraction = 1.5'),
    ({'fraction': 0.1, 'order': 'random'}, 'must be one of seen'),
    ({'fraction': 0.1, 'order': 'fixed'}, 'Replay.rows = None'),
    ({'fraction': 0.1, 'rows': 5}, "is for order 'fixed' only"),
    ({'fraction': 0.1, 'sources': 'prose'}, 'must be names of sources'),
    ({'fraction': 0.1, 'phase': 3}, 'name of an ancestor phase'),
  ],
)
def test_wrong_replays_are_told(fields, message):
  with pytest.raises(UserError, match=message):
    Replay(**fields)
