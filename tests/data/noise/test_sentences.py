import collections
import dataclasses
import itertools

import numpy as np
import pytest

from tests.data.noise.made import (
  BYTES,
  SPECIAL,
  make_keys,
  make_rows,
  noised,
)
from tpu_lm.checks import UserError
from tpu_lm.data.noise.sentences import (
  DocumentRotation,
  SentencePermutation,
  sentence_ends,
)

ENDS = {BYTES.encode([mark])[0][0] for mark in '.!?'} | {SPECIAL.end}


def in_sentences(row):
  """A row cut after each run of ends."""
  sentences, here = [], []
  for token, after in itertools.zip_longest(row, row[1:]):
    here.append(token)
    if after is None or (token in ENDS and after not in ENDS):
      sentences.append(tuple(here))
      here = []
  return sentences


def test_sentences_are_cut_after_marks_and_documents():
  row = BYTES.encode(['Well... No?! Yes.X A 3.5 end'])[0].tolist()
  row[row.index(BYTES.encode(['X'])[0][0])] = SPECIAL.end
  texts = [BYTES.decode(np.array(s)) for s in in_sentences(row)]
  assert texts == ['Well...', ' No?!', ' Yes.', ' A 3.', '5 end']


@pytest.mark.parametrize('rate', [1.0, 0.5, 0.1])
def test_the_sentences_stay_whole(rate):
  rng = np.random.default_rng(0)
  for case in range(250):
    rows = make_rows(4, int(rng.integers(1, 500)), case)
    made = noised(SentencePermutation(rate), rows, make_keys(4, case))
    for (inputs, targets, _), row in zip(made, rows.tolist(), strict=True):
      assert targets == row
      sentences = in_sentences(row)
      assert rebuilt_of(inputs, sentences, int(np.ceil(len(sentences) * rate)))


def rebuilt_of(inputs, sentences, moving):
  """Whether inputs are the sentences, at most so many of them elsewhere.

  Depth first, because a sentence may be the beginning of another one.
  """
  tried = set()

  def follow(place, left, moved):
    if moved > moving or (place, left) in tried:
      return False
    tried.add((place, left))
    if not left:
      return place == len(inputs)
    number = len(sentences) - len(left)
    for i in sorted(left, key=lambda i: (i != number, i)):
      here = sentences[i]
      if tuple(inputs[place : place + len(here)]) == here:
        rest = tuple(j for j in left if j != i)
        if follow(place + len(here), rest, moved + (here != sentences[number])):
          return True
    return False

  return follow(0, tuple(range(len(sentences))), 0)


def orders(noiser, count):
  """How often each order of five sentences comes."""
  row = BYTES.encode(['a.b.c.d.e.'])[0][None]
  made = noised(noiser, np.repeat(row, count, 0), make_keys(count))
  found = collections.Counter(
    BYTES.decode(np.array(inputs)).replace('.', '') for inputs, _, _ in made
  )
  return found


def test_every_order_is_alike_likely():
  found = orders(SentencePermutation(), 24_000)
  assert len(found) == 120
  assert all(abs(count - 200) < 5 * 200**0.5 for count in found.values())


def test_part_of_the_sentences_permuted():
  # Two of five change places or not: the order as it is, or one of ten swaps.
  found = orders(SentencePermutation(0.4), 20_000)
  assert len(found) == 11
  assert abs(found.pop('abcde') - 10_000) < 400
  assert all(abs(count - 1000) < 160 for count in found.values())


def test_rotation_is_a_shift_by_any_number():
  for length in (1, 2, 9):
    row = np.arange(10, 10 + length, dtype=np.int32)[None]
    count = 2000 * length
    made = noised(
      DocumentRotation(), np.repeat(row, count, 0), make_keys(count)
    )
    found = collections.Counter(tuple(inputs) for inputs, _, _ in made)
    text = row[0].tolist()
    assert set(found) == {(*text[i:], *text[:i]) for i in range(length)}
    assert all(abs(n - 2000) < 5 * 2000**0.5 for n in found.values())


def test_part_of_the_rows_rotated():
  rows = np.tile(np.arange(100, dtype=np.int32), (5000, 1))
  made = noised(DocumentRotation(0.3), rows, make_keys(5000))
  rotated = sum(inputs != targets for inputs, targets, _ in made)
  assert abs(rotated / 5000 - 0.3 * 0.99) < 0.03


def test_sentence_ends_by_what_tokens_say():
  pieces = ['', '</s>', ' the', '.', '!?', '?" ', 'e.g. ', '."', ' .\n']
  special = dataclasses.replace(
    SPECIAL,
    vocabulary_size=len(pieces),
    vocabulary_hash='test_sentence_ends',
    decode=lambda tokens: ''.join(pieces[i] for i in tokens),
  )
  assert np.flatnonzero(sentence_ends(special)).tolist() == [1, 3, 4, 6, 8]
  blind = dataclasses.replace(special, decode=None)
  with pytest.raises(UserError, match='no vocabulary is at hand'):
    SentencePermutation().pairs(make_rows(1, 9), make_keys(1), blind)


@pytest.mark.parametrize('kind', [SentencePermutation, DocumentRotation])
@pytest.mark.parametrize('rate', [0, 1.5])
def test_wrong_values_name_their_key(kind, rate):
  with pytest.raises(UserError, match=rf'{kind.__name__}\.rate = {rate}'):
    kind(rate)
