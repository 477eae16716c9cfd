"""The order of rows as a whole, over hosts, batches, epochs and restarts."""

import collections
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.helpers import counting_documents, tiny_corpus
from tpu_lm.data.batches import BatchBuilder
from tpu_lm.data.layout import Layout
from tpu_lm.data.ledger import Ledger
from tpu_lm.data.mixing import Mixture
from tpu_lm.data.replay import Replay
from tpu_lm.data.supply import Exhausted

LENGTH = 8
NAMES = ('german', 'prose', 'python')
# Blocks of 8 tokens; every token number is of one place of one source.
BLOCKS = {'german': 12, 'prose': 37, 'python': 25}
FIRST = {'german': 2, 'prose': 1002, 'python': 2002}
WEIGHTS = st.dictionaries(
  st.sampled_from(NAMES), st.floats(0.05, 10), min_size=1
)
CHANGES = st.dictionaries(st.integers(1, 11), WEIGHTS, max_size=3)
CAPS = st.none() | st.dictionaries(st.sampled_from(NAMES), st.floats(0.2, 3))
SLOW = settings(deadline=None, max_examples=25)


@pytest.fixture(scope='module')
def corpus(tmp_path_factory):
  documents = {
    name: counting_documents(1, BLOCKS[name] * LENGTH + 1, FIRST[name])
    for name in NAMES
  }
  folder = tmp_path_factory.mktemp('stores')
  return tiny_corpus(folder, documents, vocabulary_size=4000)


@pytest.fixture(scope='module')
def parent(corpus):
  """The ledger of a phase that read two thirds of prose, and all of german."""
  mixture = Mixture({'prose': 2, 'german': 1})
  return read(corpus, mixture, 36, 1, entry=Ledger(seed=3))[1]


def read(
  corpus, mixture, batch_size, steps, hosts=1, entry=None, stops=(), **fields
):
  """Reads steps; a restart after each of `stops`.

  Returns:
    The first token of each row in the order of the global batches, whose
    number names source and block; and the ledger at the end.
  """
  ledger = entry = entry or Ledger(seed=3)
  rows, builders = [], []
  for step in range(steps):
    if step == 0 or step in stops:
      ledger = Ledger.from_json(json.loads(json.dumps(ledger.to_json())))
      builders = [
        BatchBuilder(
          corpus,
          mixture,
          batch_size,
          Layout(LENGTH),
          entry,
          steps=steps,
          own=np.split(np.arange(batch_size), hosts)[index],
          **fields,
        )
        for index in range(hosts)
      ]
    parts = [builder.next(step, ledger) for builder in builders]
    ledger = parts[0][1]
    for batch, after in parts:
      assert after == ledger
      assert batch['inputs'].shape == (batch_size // hosts, LENGTH)
      assert batch['source'].shape == (batch_size // hosts,)
      rows += batch['inputs'][:, 0].tolist()
  return rows, ledger


def source_and_block(token):
  name = NAMES[int(np.searchsorted([1002, 2002], token, side='right'))]
  return name, (token - FIRST[name]) // LENGTH


@settings(deadline=None, max_examples=12)
@given(WEIGHTS, CAPS)
def test_rows_are_the_same_for_any_batch_and_any_hosts(corpus, weights, caps):
  caps = caps and {name: caps[name] for name in caps if name in weights}
  mixture = Mixture(weights, max_epochs=caps, when_exhausted='hand_on')
  try:
    expected, end = read(corpus, mixture, 1, 96)
  except Exhausted:
    with pytest.raises(Exhausted):
      read(corpus, mixture, 16, 6, hosts=4)
    return
  for batch_size in (4, 8, 16):
    for hosts in (1, 2, 4):
      rows, ledger = read(corpus, mixture, batch_size, 96 // batch_size, hosts)
      assert rows == expected
      assert ledger == end


@SLOW
@given(
  WEIGHTS,
  CHANGES,
  st.none() | st.floats(0.5, 9),
  st.sets(st.integers(1, 11)),
  st.sampled_from([None, 'seen', 'reshuffled', 'unseen']),
)
def test_changes_hosts_and_restarts(
  corpus, parent, weights, changes, cap, stops, order
):
  mixture = Mixture(
    weights,
    changes=changes,
    max_epochs=cap,
    when_exhausted='hand_on',
    replay=Replay(0.3, order) if order else None,
  )

  def outcome(hosts, stops):
    try:
      return read(corpus, mixture, 8, 12, hosts, parent, stops)
    except Exhausted as error:
      return str(error)

  for hosts in (1, 2, 4):
    assert outcome(hosts, stops) == outcome(1, ())


@SLOW
@given(WEIGHTS, st.integers(0, 2**31 - 1))
def test_every_block_once_an_epoch_in_a_new_order(corpus, weights, seed):
  rows, ledger = read(corpus, Mixture(weights), 16, 12, entry=Ledger(seed))
  taken = collections.defaultdict(list)
  for name, block in map(source_and_block, rows):
    taken[name].append(block)
  for name, blocks in taken.items():
    assert ledger.rows[f'{name}@8'] == len(blocks)
    size = BLOCKS[name]
    epochs = [blocks[at : at + size] for at in range(0, len(blocks), size)]
    whole = [epoch for epoch in epochs if len(epoch) == size]
    for epoch in whole:
      assert sorted(epoch) == list(range(size))
    assert len({tuple(epoch) for epoch in whole}) == len(whole)
    if len(epochs[-1]) < size:
      assert len(set(epochs[-1])) == len(epochs[-1])


@SLOW
@given(WEIGHTS, st.integers(1, 96))
def test_shares_are_exact_to_a_row(corpus, weights, rows):
  tokens, _ = read(corpus, Mixture(weights), 1, rows)
  counts = collections.Counter(source_and_block(t)[0] for t in tokens)
  whole = sum(weights.values())
  for name, weight in weights.items():
    assert abs(counts[name] - rows * weight / whole) < 1


def test_a_source_stops_repeats_or_hands_on(corpus):
  weights = {'german': 1, 'python': 1}
  repeats, _ = read(corpus, Mixture(weights), 8, 6)
  count = collections.Counter(source_and_block(token) for token in repeats)
  assert {n for (name, _), n in count.items() if name == 'german'} == {2}
  with pytest.raises(Exhausted, match=r'step 3 .* german \(12 rows, 1 ep'):
    read(corpus, Mixture(weights, max_epochs={'german': 1}), 8, 6)
  some = Mixture(weights, max_epochs=1, when_exhausted='hand_on')
  handed, ledger = read(corpus, some, 1, 37)
  assert len(set(handed)) == len(handed) == 37
  assert ledger.rows == {'german@8': 12, 'python@8': 25}
  with pytest.raises(Exhausted, match=r'german .* python'):
    read(corpus, some, 1, 38)


def test_epochs_are_counted_along_the_lineage(corpus, parent):
  assert parent.rows == {'german@8': 12, 'prose@8': 24}
  mixture = Mixture({'german': 1, 'prose': 1}, max_epochs=1)
  with pytest.raises(Exhausted, match=r'step 0 .* german'):
    read(corpus, mixture, 8, 1, entry=parent)
  mixture = Mixture(
    {'german': 1, 'prose': 1}, max_epochs=1, when_exhausted='hand_on'
  )
  rows, _ = read(corpus, mixture, 13, 1, entry=parent)
  assert {source_and_block(token)[0] for token in rows} == {'prose'}
  # A replay of the same is not limited.
  replayed = Mixture({'python': 1}, replay=Replay(0.5), max_epochs=1)
  rows, _ = read(corpus, replayed, 40, 1, entry=parent)
  names = collections.Counter(source_and_block(token)[0] for token in rows)
  assert names['python'] == 20


def test_what_is_foreseen_is_what_is_read(corpus, parent):
  mixture = Mixture({'prose': 3, 'python': 1}, changes={4: {'python': 1}})
  builder = BatchBuilder(corpus, mixture, 8, Layout(LENGTH), parent, steps=9)
  _, end = read(corpus, mixture, 8, 9, entry=parent)
  foreseen = builder.foresee(0, parent)
  assert foreseen.rows == end.rows
  assert foreseen.tokens == end.tokens
  assert foreseen.stores == end.stores
  _, middle = read(corpus, mixture, 8, 5, entry=parent)
  assert builder.foresee(5, middle).rows == end.rows
  limited = Mixture({'prose': 1}, max_epochs=1)
  builder = BatchBuilder(corpus, limited, 8, Layout(LENGTH), parent, steps=2)
  with pytest.raises(Exhausted, match='at about step 1 of the phase: prose'):
    builder.foresee(0, parent)


@pytest.mark.parametrize('own', [[0], [1, 4, 6], [2, 3, 4, 5, 7]])
def test_any_rows_of_a_batch(corpus, own):
  """Devices of one process need not hold rows that lie side by side."""
  mixture, own = (
    Mixture({'prose': 2, 'german': 1, 'python': 0.3}),
    np.array(own),
  )
  common = corpus, mixture, 8, Layout(LENGTH), Ledger()
  whole, some = BatchBuilder(*common), BatchBuilder(*common, own=own)
  ledger = Ledger()
  for step in range(6):
    batch, after = whole.next(step, ledger)
    part, ledger = some.next(step, ledger)
    assert ledger == after and part.keys() == batch.keys()
    for key, value in part.items():
      np.testing.assert_array_equal(value, batch[key][own])
