"""Evaluation sets looked for in stores."""

import dataclasses

import numpy as np
import pytest

from tests.data.helpers import text_files
from tests.survey.printing import printed
from tpu_lm.data.contamination import Contamination, dirty_items
from tpu_lm.data.corpus import Corpus
from tpu_lm.survey import overlap
from tpu_lm.survey.overlap import find_overlap, overlap_table

ITEMS = [
  f'item {i}: the quick brown fox number{i} jumps over lazy dog number{i} and'
  ' runs home to sleep'
  for i in range(20)
] + ['too short']


@pytest.fixture
def data(tmp_path):
  """A corpus that holds items 3 and 5, the latter twice; and the check."""
  random = np.random.default_rng(0)
  texts = [
    ' '.join(random.choice(['sun', 'moon', 'ärger'], 50)) for _ in range(40)
  ]
  texts[7] += f' {ITEMS[3]}'
  texts[8] += f' {ITEMS[5].upper()}!'
  texts[30] = ITEMS[5]
  dirty, clean = (
    text_files(tmp_path, 'dirty', texts),
    text_files(tmp_path, 'clean', texts[:7]),
  )
  stores = str(tmp_path / 'stores')
  check = Contamination((text_files(tmp_path, 'items', ITEMS),))
  return Corpus(files=(dirty, clean), store_dir=stores), check


def test_items_are_found_in_a_store(data, monkeypatch):
  corpus, check = data
  for tokens in (100, 2**20):  # in many stretches, and in one
    monkeypatch.setattr(overlap, 'TOKENS', tokens)
    found = find_overlap(corpus, 'dirty', check)['items']
    assert dirty_items(found) == [3, 5]
    assert found['documents'] == 3


def test_what_was_counted_at_the_build_is_the_same_and_not_done_again(
  data, tmp_path, monkeypatch
):

  corpus, check = data
  after = find_overlap(corpus, 'dirty', check)
  monkeypatch.setattr(overlap, '_stretches', None)
  checked = dataclasses.replace(
    corpus, store_dir=str(tmp_path / 'other'), contamination=check
  )
  assert find_overlap(checked, 'dirty', check) == after


def test_another_check_than_that_of_the_build_is_done(data, tmp_path):

  corpus, check = data
  checked = dataclasses.replace(corpus, contamination=check)
  checked.open('dirty', 'train')
  other = Contamination(check.evals, 14)
  assert find_overlap(checked, 'dirty', other)['items']['n'] == 14


def test_the_table(data):
  corpus, check = data
  found = {n: find_overlap(corpus, n, check) for n in ('dirty', 'clean')}
  text = printed(overlap_table(found, {'dirty': 40, 'clean': 7}))
  lines = [line.split() for line in text.splitlines()]
  assert ['items', 'dirty', '20', '2', '10.0%', '3', '7.5%'] in lines
  assert ['all', '2', 'sources', '2', '10.0%', '3', '6.4%'] in lines
  assert not any('clean' in line for line in lines)
  assert 'where 13 words in a row' in text
  assert 'Left out: one item of less than 8 words' in text


def test_the_table_of_a_clean_source(data):
  corpus, check = data
  found = {'clean': find_overlap(corpus, 'clean', check)}
  text = printed(overlap_table(found, {'clean': 7}))
  lines = [line.split() for line in text.splitlines()]
  assert ['items', 'clean', '20', 'none', 'none'] in lines
