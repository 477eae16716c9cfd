import threading

import numpy as np
import pytest

from tests.data.helpers import tiny_corpus
from tpu_lm.data.batches import BatchBuilder
from tpu_lm.data.layout import Layout
from tpu_lm.data.ledger import Ledger
from tpu_lm.data.mixing import Mixture
from tpu_lm.data.prefetch import DEPTH, Prefetch
from tpu_lm.data.supply import Exhausted

MIXTURE = Mixture({'prose': 1, 'python': 2}, changes={4: {'python': 1}})


class Watched:
  """A builder that counts what it is asked for."""

  def __init__(self, builder):
    self._builder = builder
    self.series = builder.series
    self.asked, self.threads = [], set()

  def next(self, phase_step, ledger):
    self.asked.append(phase_step)
    self.threads.add(threading.current_thread())
    return self._builder.next(phase_step, ledger)


@pytest.fixture
def builder(tmp_path):
  texts = {name: [name * 20] * 20 for name in ('prose', 'python')}
  corpus = tiny_corpus(tmp_path, texts)
  return Watched(BatchBuilder(corpus, MIXTURE, 8, Layout(16), Ledger()))


@pytest.fixture
def prefetch(builder):
  ahead = Prefetch(builder)
  yield ahead
  ahead.close()


def same(one, other):
  (batch, ledger), (batch_too, ledger_too) = one, other
  assert ledger == ledger_too
  assert batch.keys() == batch_too.keys()
  assert all(np.array_equal(batch[key], batch_too[key]) for key in batch)


def test_batches_are_the_builders(builder, prefetch):
  assert prefetch.series == builder.series
  ledger = Ledger()
  for step in range(10):
    expected = builder.next(step, ledger)
    same(prefetch.next(step, ledger), expected)
    ledger = expected[1]


def test_they_are_built_ahead_and_once(builder, prefetch):
  ledger = Ledger()
  for step in range(6):
    _, ledger = prefetch.next(step, ledger)
  prefetch.close()
  prefetch._worker.shutdown(wait=True)
  assert builder.asked[:6] == list(range(6))
  assert len(builder.asked) <= 6 + DEPTH
  assert len(builder.asked) == len(set(builder.asked))
  assert threading.current_thread() not in builder.threads
  assert len(builder.threads) == 1


def test_a_jump_begins_anew(builder, prefetch):
  first, ledger = Ledger(), Ledger()
  ledgers = []
  for step in range(5):
    ledgers.append(ledger)
    _, ledger = prefetch.next(step, ledger)
  same(prefetch.next(2, ledgers[2]), builder.next(2, ledgers[2]))
  same(prefetch.next(3, ledgers[3]), builder.next(3, ledgers[3]))
  # The same step with another ledger is another batch.
  other = Ledger(seed=0, rows={'prose@16': 3}, stores=ledgers[4].stores)
  same(prefetch.next(4, other), builder.next(4, other))
  same(prefetch.next(0, first), builder.next(0, first))


def test_what_failed_is_tried_again(builder, prefetch, monkeypatch):
  build, ledger, away = builder.next, Ledger(), True

  def sometimes(phase_step, ledger):
    if phase_step == 3 and away:
      raise OSError('the storage is away')
    return build(phase_step, ledger)

  monkeypatch.setattr(builder, 'next', sometimes)
  for step in range(3):
    _, ledger = prefetch.next(step, ledger)
  with pytest.raises(OSError, match='away'):
    prefetch.next(3, ledger)
  away = False
  same(prefetch.next(3, ledger), build(3, ledger))


def test_an_error_is_raised_where_it_belongs(tmp_path):
  corpus = tiny_corpus(tmp_path, {'prose': ['x' * 330]})
  mixture = Mixture({'prose': 1}, max_epochs=1)  # 20 rows: 2 batches of 8
  prefetch = Prefetch(BatchBuilder(corpus, mixture, 8, Layout(16), Ledger()))
  _, one = prefetch.next(0, Ledger())
  _, two = prefetch.next(1, one)
  for _ in range(2):
    with pytest.raises(Exhausted, match='used up at step 2'):
      prefetch.next(2, two)
  prefetch.next(1, one)
  prefetch.close()
