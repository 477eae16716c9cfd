import re

import numpy as np
import pytest

from tests.data.noise.made import (
  BYTES,
  SPECIAL,
  make_keys,
  make_rows,
  noised,
  split,
)
from tpu_lm.checks import UserError
from tpu_lm.data.noise import bart
from tpu_lm.data.noise.bart import (
  Bart,
  TextInfilling,
  TokenDeletion,
  TokenMasking,
)
from tpu_lm.data.noise.sentences import DocumentRotation, SentencePermutation

MASK = SPECIAL.id('mask')
TEXT = 'The red fox, aged 3, jumps over an old dog. It is a lazy dog. '


def random_cases(make, cases=250):
  """Rows of many lengths: inputs, targets and the text of each."""
  rng = np.random.default_rng(0)
  for case in range(cases):
    noiser = make(float(rng.uniform(0.01, 0.99)))
    rows = make_rows(4, int(rng.integers(1, 300)), case)
    made = noised(noiser, rows, make_keys(4, case))
    for (inputs, targets, _), row in zip(made, rows.tolist(), strict=True):
      yield noiser, inputs, targets, row


def part_of(count, rate):
  return int(np.ceil(count * rate))


def test_masking_masks_a_part():
  for noiser, inputs, targets, row in random_cases(TokenMasking):
    assert targets == row
    assert inputs.count(MASK) == part_of(len(row), noiser.rate)
    assert [b if a == MASK else a for a, b in zip(inputs, targets)] == row


def test_a_part_that_is_a_whole_number_is_not_rounded_up():
  assert 0.07 * 100 > 7
  row, key = make_rows(1, 100), make_keys(1)
  [(inputs, _, _)] = noised(TokenMasking(0.07), row, key)
  assert inputs.count(MASK) == 7


def test_deletion_leaves_a_part_out():
  for noiser, inputs, targets, row in random_cases(TokenDeletion):
    assert targets == row
    assert len(row) - len(inputs) == part_of(len(row), noiser.rate)
    rest = iter(row)
    assert all(token in rest for token in inputs), 'not a subsequence'


@pytest.mark.parametrize('noiser', [TokenMasking(0.2), TokenDeletion(0.2)])
def test_every_token_is_hit_alike_often(noiser):
  rows = np.tile(np.arange(10, 60, dtype=np.int32), (10_000, 1))
  inputs = noiser.pairs(rows, make_keys(10_000), SPECIAL).inputs.tokens
  hit = 10_000 - np.bincount(inputs, minlength=60)[10:60]
  assert np.all(np.abs(hit - 2000) < 5 * (10_000 * 0.2 * 0.8) ** 0.5)


@pytest.mark.parametrize('whole_words', [False, True])
def test_what_infilling_leaves_is_the_text_in_its_order(whole_words):
  def make(rate):
    return TextInfilling(rate, 3.0, whole_words)

  for _, inputs, targets, row in random_cases(make):
    assert targets == row
    assert len(inputs) <= len(row)
    # A mask stands for any number of tokens, also for none.
    first, *others = ''.join(map(chr, inputs)).split(chr(MASK))
    text = ''.join(map(chr, row))
    if not others:
      assert first == text
      continue
    *others, last = others
    assert text.startswith(first) and text[len(first) :].endswith(last)
    place, stop = len(first), len(text) - len(last)
    for piece in others:
      place = text.find(piece, place, stop)
      assert place >= 0
      place += len(piece)


def laid(starts, lengths, words):
  """Which words are hidden, which have a mask: the authors' code, in words."""
  gone, masked = set(), set(starts)
  for start, length in zip(starts, lengths, strict=True):
    gone |= set(range(start + 1, min(start + length, words)))
  return gone | masked, masked - gone


def test_spans_are_laid_over_words():
  rng = np.random.default_rng(0)
  for case in range(300):
    counts = rng.integers(1, 30, 4)
    begins = np.zeros((4, 90), bool)
    sizes = [rng.integers(1, 4, count) for count in counts]
    for row, size in enumerate(sizes):
      begins[row, np.cumsum(size) - size] = True
    lengths = rng.integers(0, 6, (4, 12))
    lengths[np.cumsum(lengths > 0, axis=1) > counts[:, None]] = 0
    keys = make_keys(4, case)
    hidden, first = bart._hide(begins, counts, lengths, keys)
    order = bart.spans.shuffled(keys, counts, 'span starts')
    for row in range(4):
      real = [length for length in lengths[row].tolist() if length]
      starts = order[row, : len(real)].tolist()
      gone, masked = laid(starts, real, counts[row])
      word = np.repeat(np.arange(counts[row]), sizes[row])
      expected = [w in gone for w in word]
      assert hidden[row, : len(word)].tolist() == expected
      places = np.flatnonzero(begins[row])
      assert np.flatnonzero(first[row]).tolist() == [
        places[w] for w in sorted(masked)
      ]


def test_span_lengths_are_poisson_and_add_up_to_the_budget():
  budget = np.random.default_rng(0).integers(0, 200, 2000)
  keys = make_keys(2000)
  lengths, inserts = TextInfilling()._spans(budget, keys)
  assert np.array_equal(lengths.sum(1), budget)
  # Long budgets cut the last length alone, one in sixty.
  lengths, inserts = TextInfilling()._spans(budget * 0 + 180, keys)
  count = np.sum(lengths > 0) + np.sum(inserts)
  assert abs(lengths.sum() / count - 3.0) < 0.1
  assert abs(np.sum(inserts) / count - np.exp(-3)) < 0.005
  assert abs(np.sum(lengths == 3) / count - np.exp(-3) * 27 / 6) < 0.01


def test_infilling_hides_about_the_budget():
  rows = make_rows(1000, 500)
  pairs = TextInfilling(whole_words=False).pairs(rows, make_keys(1000), SPECIAL)
  masks = np.array([row.count(MASK) for row in split(pairs.inputs)])
  hidden = 500 - (pairs.inputs.lengths - masks)
  assert hidden.max() <= 150
  # About 50 spans of 3, over each other here and there.
  assert 125 < hidden.mean() < 145
  assert 40 < masks.mean() < 54


def test_words_are_hidden_whole():
  row = BYTES.encode([TEXT * 3])[0][None]
  known = set(re.findall(r'\w+|\W', TEXT))
  # Spans so long are never empty; an inserted mask may part a word.
  for inputs, _, _ in noised(
    TextInfilling(0.4, 20.0), np.repeat(row, 500, 0), make_keys(500)
  ):
    text = ''.join('\0' if i == MASK else BYTES.decode([i]) for i in inputs)
    assert set(re.findall(r'\w+|[^\w\0]', text)) <= known


def test_masks_are_inserted_in_every_gap():
  # A single word a row: its budget is one word, and every other row of those
  # with an empty span would be longer than its text.
  rows = np.full((4000, 6), BYTES.encode(['a'])[0][0], np.int32)
  pairs = TextInfilling(0.1, 1.0).pairs(rows, make_keys(4000), SPECIAL)
  found = {tuple(row) for row in split(pairs.inputs)}
  a, m = int(rows[0, 0]), MASK
  assert (m,) in found and (m, m) in found and (m, m, m, m, m, m) in found
  tokens = TextInfilling(0.5, 1.0, whole_words=False)
  rows = np.tile(np.arange(10, 16, dtype=np.int32), (4000, 1))
  pairs = tokens.pairs(rows, make_keys(4000), SPECIAL)
  found = {tuple(row) for row in split(pairs.inputs)}
  assert (m, m, 11, 14, 15) in found or (m, 11, m, 14, 15) in found
  assert any(row[-2:] == (15, m) for row in found)
  assert all(len(row) <= 6 for row in found) and a not in (10, 15)


def test_functions_follow_each_other():
  rows, keys = make_rows(200, 150), make_keys(200)
  noiser = Bart((SentencePermutation(), TextInfilling(), DocumentRotation()))
  assert noiser.names == ('mask',) and noiser.labels == ('bart',)
  assert noiser.sizes(100) == (100, 100)
  assert Bart((TokenDeletion(0.5), TokenDeletion(0.5))).sizes(100) == (25, 100)
  for (inputs, targets, _), row in zip(
    noised(noiser, rows, keys), rows.tolist()
  ):
    assert targets == row
    left = [token for token in inputs if token != MASK]
    assert not np.any(
      np.bincount(left, minlength=259) > np.bincount(row, minlength=259)
    )
  twice = Bart((TokenMasking(0.5), TokenMasking(0.5)))
  masks = [row[0].count(MASK) for row in noised(twice, rows, keys)]
  # The second draws anew: three quarters in the mean, not one half.
  assert abs(np.mean(masks) / 150 - 0.75) < 0.01


@pytest.mark.parametrize(
  'make, message',
  [
    (lambda: TokenMasking(0), r'TokenMasking\.rate = 0'),
    (lambda: TokenDeletion(1), r'TokenDeletion\.rate = 1'),
    (lambda: TextInfilling(rate=1.5), r'TextInfilling\.rate = 1.5'),
    (lambda: TextInfilling(mean_span=0), r'TextInfilling\.mean_span = 0'),
    (lambda: TextInfilling(whole_words=0), r'TextInfilling\.whole_words = 0'),
    (lambda: Bart(()), r'Bart\.functions = \(\): must not be empty'),
    (lambda: Bart(('mask',)), r'Bart\.functions = '),
  ],
)
def test_wrong_values_name_their_key(make, message):
  with pytest.raises(UserError, match=message):
    make()
