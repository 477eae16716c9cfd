"""Facts of stores, and their tables."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.helpers import tiny_store
from tests.survey.printing import printed
from tpu_lm.survey.facts import facts_of, length_bins
from tpu_lm.survey.sources import histograms, source_table


@pytest.fixture
def letters(tmp_path):
  return facts_of(tiny_store(tmp_path, 'letters', ['a', 'bcd', 'äöü' * 50]))


def test_facts_are_those_of_the_documents(letters):
  assert letters.lengths.tolist() == [2, 4, 301]
  assert (letters.documents, letters.tokens) == (3, 307)
  assert letters.text_bytes == 304
  assert letters.bytes_per_token == 304 / 307


def test_text_of_unknown_size(tmp_path):
  numbers = facts_of(tiny_store(tmp_path, 'numbers', [[3, 4, 5]]))
  assert numbers.bytes_per_token is None
  assert '–' in printed(source_table([numbers]))


@given(st.lists(st.integers(1, 2**40), min_size=1))
def test_each_document_is_in_the_bin_of_its_length(lengths):
  starts, counts = length_bins(np.array(lengths))
  assert counts.sum() == len(lengths) and counts[0] and counts[-1]
  for start, number in zip(starts.tolist(), counts.tolist()):
    assert number == sum(start <= one < 2 * start for one in lengths)


def test_the_table_of_sources(letters):
  held_out = dataclasses.replace(letters, split='validation')
  other = dataclasses.replace(
    letters,
    name='pairs',
    whole=True,
    vocabulary='bytes',
    left_out={'bad': 1234, 'empty': 1},
  )
  text = printed(source_table([letters, held_out, other]))
  rows = [line.split() for line in text.splitlines()]
  numbers = ['3', '307', '304', 'bytes', '0.99', '102', '4', '301']
  assert ['letters', *numbers, 'cut'] in rows
  assert ['validation', *numbers, 'cut'] in rows
  assert ['pairs', *numbers, 'whole'] in rows
  assert 'vocabulary of letters: 259 tokens' in text
  assert 'vocabulary of pairs: bytes' in text
  assert 'left out of pairs/train: 1,234 bad and 1 empty' in text


def test_one_vocabulary_is_told_once(letters):
  text = printed(
    source_table([letters, dataclasses.replace(letters, name='b')])
  )
  assert text.count('vocabulary') == 1


def test_histograms_stand_side_by_side(letters):
  other = dataclasses.replace(letters, name='other')
  text = printed(histograms([letters, other]))
  first = [line for line in text.splitlines() if line.startswith('  2 +')]
  assert 'letters' in text.splitlines()[0] and 'other' in text.splitlines()[0]
  assert first[0].count('33.3%') == 2
  assert '256 + ██████████ 33.3% 1' in text


@pytest.mark.parametrize('width', [60, 80, 200])
def test_nothing_is_wider_than_the_terminal(letters, width):
  long = dataclasses.replace(letters, name='a_name_of_many_words_' * 3)
  text = printed(source_table([long]), histograms([long]), width=width)
  assert max(map(len, text.splitlines())) <= width
  assert 'whole' in text or 'cut' in text
