"""Words, their hashes, and the n-grams of many texts found in others."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpu_lm.data import word_hashes
from tpu_lm.data.ngram_index import NgramIndex, roll
from tpu_lm.data.word_hashes import hash_words

AWKWARD = (
  st.text(max_size=40)
  | st.text(alphabet='aB1 ,.\n\t-', max_size=40)
  | st.text(alphabet='日本語ab ー、é́ß\u2028\ud800', max_size=20)
)
WORDS = st.text(alphabet='abc d', max_size=80)


def words_of(text):
  """The definition, character by character."""
  spaced = ''
  for character in text.lower():
    point = ord(character)
    if point >= 0x20000 or any(a <= point <= b for a, b in word_hashes._ALONE):
      spaced += f' {character} '
    elif character.isspace() or unicodedata.category(character)[0] in 'LMN':
      spaced += character
  return spaced.split()


def hashes(text):
  return hash_words([text])[0].tolist()


@pytest.mark.parametrize(
  'one, other',
  [
    ("Don't  stop!", 'dont\nstop'),
    ('“Ärger” — GROSS…', 'ärger gross'),
    ('snake_case', 'snakecase'),
    ('日本語', '日 本 語'),
    ('', ' ?!\n'),
  ],
)
def test_texts_of_the_same_words(one, other):
  assert hashes(one) == hashes(other)


@given(st.lists(AWKWARD, max_size=5))
def test_words_are_those_of_the_definition(texts):
  wanted = [words_of(text) for text in texts]
  found, numbers = hash_words(texts)
  counts = np.bincount(numbers, minlength=len(texts))[: len(texts)]
  assert counts.tolist() == [len(words) for words in wanted]
  every = [word for words in wanted for word in words]
  # Equal hashes if and only if equal words.
  assert len(set(zip(every, found.tolist()))) == len(set(every))
  assert len(set(found.tolist())) == len(set(every))


@given(st.lists(AWKWARD, max_size=4), st.integers(50, 90))
def test_a_long_text_is_cut_between_words(texts, size):
  text = ' '.join(f'{one} and' for one in texts)
  whole = hashes(text)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(word_hashes, 'CHARACTERS', size)
    assert hashes(text) == whole


def test_a_word_longer_than_what_is_worked_on_at_once():
  assert len(hashes('x' * (3 * word_hashes.CHARACTERS))) == 3
  assert len(hashes('語' * (word_hashes.CHARACTERS + 5))) == (
    word_hashes.CHARACTERS + 5
  )


def test_hashes_are_the_same_everywhere():
  assert hashes('the same') == [7634464678753560671, 9532637965991795675]


@settings(max_examples=200)
@given(
  st.lists(WORDS, min_size=1, max_size=4),
  st.lists(WORDS, max_size=4),
  st.integers(2, 5),
)
def test_the_index_finds_what_a_plain_search_finds(items, documents, n):
  shortest = 2
  index = NgramIndex(items, n, shortest)

  def ngrams(text, length):
    words = text.split()
    return [
      tuple(words[i : i + length]) for i in range(len(words) - length + 1)
    ]

  wanted = {}
  for item, text in enumerate(items):
    length = min(n, len(text.split()))
    if length >= shortest:
      for gram in ngrams(text, length):
        wanted.setdefault(gram, set()).add(item)
  assert len(index) == len(wanted)
  words, numbers = hash_words(documents)
  found, where = index.find(roll(words, index.lengths), numbers)
  hits = [
    (gram, number)
    for number, text in enumerate(documents)
    for length in range(shortest, n + 1)
    for gram in ngrams(text, length)
    if gram in wanted
  ]
  assert sorted(where.tolist()) == sorted(number for _, number in hits)
  items_hit = {item for gram, _ in hits for item in wanted[gram]}
  assert index.items_of(np.unique(found)).tolist() == sorted(items_hit)
