"""The order of packed rows over hosts, batches, epochs, caps and replays."""

import collections
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.helpers import tiny_store
from tpu_lm.data.batches import BatchBuilder
from tpu_lm.data.corpus import Corpus
from tpu_lm.data.layout import Layout
from tpu_lm.data.ledger import Ledger
from tpu_lm.data.mixing import Mixture
from tpu_lm.data.prefetch import Prefetch
from tpu_lm.data.replay import Replay

LENGTH = 12
SLOW = settings(deadline=None, max_examples=15)
WEIGHTS = st.fixed_dictionaries(
  {'chats': st.floats(0.2, 5), 'text': st.floats(0.2, 5)}
)


@pytest.fixture(scope='module')
def corpus(tmp_path_factory):
  """Chats of 2 to 9 tokens that all differ, a third without loss; and text."""
  folder = tmp_path_factory.mktemp('stores')
  sizes = np.random.default_rng(2).integers(2, 10, 60)
  chats = np.split(2 + np.arange(sizes.sum()), np.cumsum(sizes)[:-1])
  losses = [tokens % 3 > 0 for tokens in chats]
  tiny_store(
    folder, 'chats', chats, vocabulary_size=2000, losses=losses, whole=True
  )
  text = [1000 + np.arange(30 * LENGTH + 1)]
  tiny_store(folder, 'text', text, vocabulary_size=2000)
  return Corpus(store_dir=str(folder))


def read(corpus, mixture, batch_size, steps, entry, hosts=1, stops=()):
  """Reads steps, built ahead; stopped and begun anew before each of `stops`.

  Returns:
    Every row with all that a batch says of it, in order; and the ledger.
  """
  ledger, rows, builders = entry, [], []
  for step in range(steps):
    if step == 0 or step in stops:
      for builder in builders:
        builder.close()
      ledger = Ledger.from_json(json.loads(json.dumps(ledger.to_json())))
      builders = [
        Prefetch(
          BatchBuilder(
            corpus,
            mixture,
            batch_size,
            Layout(LENGTH),
            entry,
            own=np.split(np.arange(batch_size), hosts)[index],
          )
        )
        for index in range(hosts)
      ]
    parts = [builder.next(step, ledger) for builder in builders]
    ledger = parts[0][1]
    for batch, after in parts:
      assert after == ledger
      keys = sorted(batch)
      for row in zip(*(batch[key].tolist() for key in keys)):
        rows.append(dict(zip(keys, row)))
  for builder in builders:
    builder.close()
  return rows, ledger


def chats_in(rows):
  """First tokens of the chats of rows; targets must go with their weights."""
  found = []
  for row in rows:
    if row['inputs'][0] >= 1000:
      continue
    for place, segment in enumerate(row['segments']):
      target = row['targets'][place]
      assert row['weights'][place] == (segment > 0 and target % 3 > 0)
      if segment and row['positions'][place] == 0:
        found.append(row['inputs'][place])
  return found


@SLOW
@given(
  WEIGHTS,
  st.sampled_from([None, 'seen', 'reshuffled', 'unseen']),
  st.none() | st.floats(1, 3),
  st.sets(st.integers(1, 5)),
)
def test_any_batch_any_hosts_and_any_restart(
  corpus, weights, order, cap, stops
):
  before = Mixture({'chats': 2, 'text': 1}, max_epochs=2)
  first, entry = read(corpus, before, 8, 3, Ledger(seed=3))
  mixture = Mixture(
    weights,
    replay=Replay(0.4, order) if order else None,
    max_epochs=cap and {'chats': cap},
    when_exhausted='hand_on',
  )
  expected, end = read(corpus, mixture, 1, 48, entry)
  for batch_size, hosts in ((8, 1), (8, 4), (16, 2)):
    got = read(
      corpus, mixture, batch_size, 48 // batch_size, entry, hosts, stops
    )
    assert got == (expected, end)
  if order == 'seen':
    # Name for name the rows that were read, with their weights and segments.
    names = BatchBuilder(corpus, mixture, 1, Layout(LENGTH), entry).names
    for name in ('chats', 'text'):
      index = names.index(f'replay:{name}')
      again = [row for row in expected if row['source'] == index]
      packed = name == 'chats'
      seen = [r for r in first if (r['inputs'][0] < 1000) == packed]
      assert again
      for place, row in enumerate(again):
        assert row == {**seen[place % len(seen)], 'source': index}


@SLOW
@given(WEIGHTS, st.integers(0, 9))
def test_every_chat_once_an_epoch_and_no_more(corpus, weights, seed):
  mixture = Mixture(weights, max_epochs={'chats': 2}, when_exhausted='hand_on')
  builder = BatchBuilder(corpus, mixture, 1, Layout(LENGTH), Ledger())
  size = builder.rows_per_epoch['chats']
  rows, ledger = read(corpus, mixture, 8, 200, Ledger(seed))
  assert ledger.rows[f'chats@{LENGTH}'] == 2 * size
  packed = [row for row in rows if row['inputs'][0] < 1000]
  epochs = chats_in(packed[:size]), chats_in(packed[size:])
  assert set(collections.Counter(epochs[0]).values()) == {1}
  assert sorted(epochs[0]) == sorted(epochs[1])
  assert len(epochs[0]) == 60
  assert epochs[0] != epochs[1]
