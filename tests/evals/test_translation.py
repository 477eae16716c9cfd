"""Which pairs are translated, and how they reach the model."""

import dataclasses

import numpy as np
import pytest

from tests import tiny
from tests.data.helpers import tiny_store
from tpu_lm.data.vocabularies.bytes import Bytes
from tpu_lm.evals import translation
from tpu_lm.evals.translation import Translation

LENGTH = 6
# Tokens of the inputs and of the targets, the end mark among these.
SIZES = [(5, 6), (6, 2), (3, 7), (2, 3), (0, 4), (4, 0), (1, 2), (9, 9)]
FITTING = [0, 3, 6]


@pytest.fixture
def run(tmp_path):
  tokens, losses = [], []
  for number, (read, written) in enumerate(SIZES):
    letter = ord('a') + 2 * number
    end = [1] if written else []
    tokens.append([letter] * read + [letter + 1] * (written - len(end)) + end)
    losses.append([False] * read + [True] * written)
  tiny_store(
    tmp_path / 'stores',
    'pairs',
    tokens,
    'validation',
    losses=losses,
    whole=True,
  )
  run = tiny.tree_run(tmp_path / 'stores')
  corpus = dataclasses.replace(run.corpus, vocabulary=Bytes())
  return dataclasses.replace(run, corpus=corpus)


@pytest.fixture
def seen(monkeypatch):
  """Batches that reached the model, whose translations are a letter's next."""
  batches = []

  def write(model, params, batch, *, length, start, end):
    batches.append(batch)
    read = batch['encoder_inputs']
    return np.where((read > 0) & (read != end), read + 1, -1)

  monkeypatch.setattr(translation, 'greedy', write)
  return batches


@pytest.mark.parametrize(
  ('pairs', 'numbers', 'too_long'),
  [(9, FITTING, 3), (3, FITTING, 2), (2, FITTING[:2], 2), (1, FITTING[:1], 0)],
)
def test_the_first_pairs_that_fit_are_translated(
  run, seen, pairs, numbers, too_long
):
  found = Translation('pairs', pairs, batch_size=2, length=LENGTH)(run, None)
  assert found['validation/too_long/pairs'] == too_long
  rows = np.concatenate([batch['encoder_inputs'] for batch in seen])
  segments = np.concatenate([batch['encoder_segments'] for batch in seen])
  assert rows.shape == (-(-len(numbers) // 2) * 2, LENGTH)
  for number, row, used in zip(numbers, rows, segments, strict=False):
    read = SIZES[number][0]
    assert row.tolist()[: read + 1] == [ord('a') + 2 * number] * read + [1]
    assert used.tolist() == [1] * (read + 1) + [0] * (LENGTH - read - 1)
  assert not segments[len(numbers) :].any()


def test_translations_meet_their_own_references(run, seen):
  """Letters are right; only how many there are differs."""
  found = Translation('pairs', 9, batch_size=2, length=LENGTH)(run, None)
  assert found['validation/chrf/pairs'] > 50
  swapped = Translation('pairs', 1, batch_size=2, length=LENGTH)(run, None)
  assert swapped['validation/chrf/pairs'] == 100  # five letters for five
