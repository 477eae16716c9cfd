"""Phrases of a file, found in rows."""

import dataclasses

import numpy as np
import pytest

from tests.data.noise.made import BYTES, SPECIAL
from tests.data.noise.test_words import MAKERS, special_of
from tpu_lm.checks import UserError
from tpu_lm.data.noise import lexicons, phrases

ALPHABET = [*'ab ,']


def known_of(texts, special=SPECIAL):
  """Phrases by number: phrase i has number i."""
  forms = lexicons.tokenised(texts, special)
  flat = [form.bare for pair in forms for form in pair]
  numbers = [i for i, pair in enumerate(forms) for _ in pair]
  return phrases.index(flat, numbers, special)


def slow_words(text):
  """First and last place of each word or mark."""
  found, start = [], None
  for i, sign in enumerate(f'{text} '):
    if start is not None and not sign.isalpha():
      found.append((start, i))
      start = None
    if sign.isalpha():
      start = i if start is None else start
    elif not sign.isspace():
      found.append((i, i + 1))
  return sorted(found)


def slow_find(texts, text):
  """Longest in words first, then the first; one after another."""
  words, found, covered = slow_words(text), [], set()
  for length in range(8, 0, -1):
    for i in range(len(words) - length + 1):
      start, stop = words[i][0], words[i + length - 1][1]
      piece = text[start:stop]
      free = not covered & {*range(start, stop)}
      if free and piece in texts and len(slow_words(piece)) == length:
        covered |= {*range(start, stop)}
        found.append((start, stop, texts.index(piece)))
  return sorted(found)


def test_phrases_are_those_that_a_search_finds():
  rng = np.random.default_rng(0)
  for _ in range(1000):
    count, length = rng.integers(1, 4), rng.integers(1, 40)
    texts = [''.join(row) for row in rng.choice(ALPHABET, (count, length))]
    drawn = {
      ''.join(rng.choice(ALPHABET, rng.integers(1, 8))).strip()
      for _ in range(rng.integers(1, 12))
    }
    drawn = sorted(drawn - {''}) or ['a']
    rows = np.stack(BYTES.encode(texts))
    found = phrases.find(known_of(drawn), rows, rows * 0 + 1, SPECIAL)
    wanted = [
      (row * length + start, row * length + stop, number)
      for row, text in enumerate(texts)
      for start, stop, number in slow_find(drawn, text)
    ]
    assert np.stack(found, axis=1).tolist() == [[*one] for one in wanted]


def test_no_phrase_crosses_documents():
  row = BYTES.encode(['new york'])[0][None]
  known = known_of(['new york', 'york'])
  for end, wanted in [(8, [0]), (4, [1]), (3, [1]), (5, [])]:
    segments = np.array([[1] * end + [2] * (8 - end)])
    # Where a document ends within a word, its rest is another word.
    wanted = [1] if end in (3, 4) else wanted
    found = phrases.find(known, row, segments, SPECIAL)
    assert found.numbers.tolist() == wanted, end


@pytest.mark.parametrize('maker', MAKERS.values(), ids=MAKERS)
def test_at_the_start_and_inside_of_a_text(maker, tmp_path):
  special = special_of(maker(tmp_path))
  texts = ['See trees', 'woods', 'tree', 'fall in']
  text = 'woods, See trees (woods See tree)'
  tokens = special.encode([text])[0]
  known = known_of(texts, special)
  found = phrases.find(known, tokens[None], tokens[None] * 0 + 1, special)
  pieces = [
    special.decode(tokens[start:stop]).strip()
    for start, stop in zip(found.starts, found.stops)
  ]
  # In the tokens of some, a word after a bracket has no form of its own.
  assert [p for p in pieces if p != 'woods'] == ['See trees', 'tree']
  assert 1 <= pieces.count('woods') <= 2
  assert [texts[i] for i in found.numbers] == pieces


def test_hashes_that_share_a_bucket_are_told_apart():
  rng = np.random.default_rng(0)
  high = rng.integers(0, 3, 3000).astype(np.uint64) << np.uint64(46)
  hashes = np.unique(high | rng.integers(0, 2000, 3000).astype(np.uint64))
  every = np.arange((1 << 18) + 1, dtype=np.int64)
  known = phrases.Phrases(
    hashes,
    np.arange(len(hashes)),
    (1,),
    np.searchsorted((hashes >> np.uint64(46)).astype(np.int64), every),
  )
  asked = np.concatenate([hashes[::-3], hashes + np.uint64(1), hashes[:5]])
  hits, index = phrases._look_up(known, asked)
  assert np.array_equal(hits, np.flatnonzero(np.isin(asked, hashes)))
  assert np.array_equal(hashes[index], asked[hits])


def test_what_the_vocabulary_lacks_has_no_tokens(tmp_path):
  special = special_of(MAKERS['word piece'](tmp_path))
  forms = lexicons.tokenised(['tree', 'Äpfel', '\u0301'], special)
  assert [form is None for form in forms] == [False, True, True]
  assert lexicons.tokenised([], special) == []


def test_a_file_is_read(tmp_path):
  path = tmp_path / 'list.txt'
  path.write_text('\ufeff# a list\nnew york\tplace\r\n\n  Ada \t name\n')
  wanted = [('new york', 'place'), ('Ada', 'name')]
  assert lexicons.read('Noise.lexicon', str(path)) == wanted


@pytest.mark.parametrize(
  'data, message',
  [
    (None, 'there is no such file'),
    (b'a\tb\nword\n', 'line 2 must be two fields'),
    (b'a\tb\tc\n', 'line 1 must be two fields'),
    (b'a\t \n', 'line 1 must be two fields'),
    (b'# nothing\n\n', 'there is no phrase in it'),
    (b'\xff\xfe', 'is not UTF-8'),
  ],
)
def test_a_wrong_file_is_told(data, message, tmp_path):
  path = tmp_path / 'list.txt'
  if data is not None:
    path.write_bytes(data)
  with pytest.raises(UserError, match=f'^Noise.lexicon = .*{message}'):
    lexicons.read('Noise.lexicon', str(path))


def test_without_a_vocabulary_it_is_said():
  nothing = dataclasses.replace(SPECIAL, encode=None)
  with pytest.raises(UserError, match=r'Set Corpus\.vocabulary'):
    lexicons.tokenised(['a'], nothing)
