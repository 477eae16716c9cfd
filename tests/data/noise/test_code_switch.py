"""Text in which some words are of another language."""

import dataclasses
import itertools
import re

import numpy as np
import pytest

from tests.data.noise.made import (
  BYTES,
  SPECIAL,
  make_keys,
  make_rows,
  split,
)
from tests.data.noise.test_words import MAKERS, special_of
from tpu_lm.checks import UserError
from tpu_lm.data.noise.code_switch import CodeSwitch

# Translations that occur in no text, so that the text can be told from them.
PAIRS = {
  'the': ['\x10A\x11', '\x10BBBB\x11'],
  'argument': ['\x10C\x11'],
  'option string': ['\x10a much longer translation\x11'],
  'option': ['\x10\x11'],
  'if': ['\x10D\x11', '\x10E\x11', '\x10F\x11'],
}
BACK = {other: text for text, others in PAIRS.items() for other in others}


@pytest.fixture
def path(tmp_path):
  lines = [f'{a}\t{b}\n' for a, others in PAIRS.items() for b in others]
  (tmp_path / 'pairs.txt').write_text(''.join(lines))
  return str(tmp_path / 'pairs.txt')


def decoded(ragged):
  """The rows as texts; ends of documents as NUL."""
  rows = split(ragged)
  return [''.join(chr(max(t - 3, 0)) for t in row) for row in rows]


def test_the_text_comes_back(path):
  kinds = set()
  for case in range(1000):
    rng = np.random.default_rng(case)
    length = int(rng.integers(1, 300))
    noiser = CodeSwitch(path, rng.uniform(0.1, 1), rng.choice([0, 0.1, 1.0]))
    rows = make_rows(2, length, case)
    pairs = noiser.pairs(rows, make_keys(2, case), SPECIAL)
    assert split(pairs.targets) == rows.tolist()
    most = noiser.sizes(length)[0]
    for inputs, text in zip(decoded(pairs.inputs), decoded(pairs.targets)):
      assert len(inputs) <= most == length + int(noiser.growth * length)
      parts = re.findall('\x10[^\x11]*\x11', inputs)
      kinds |= {*parts}
      assert re.sub('\x10[^\x11]*\x11', lambda m: BACK[m[0]], inputs) == text
      switched = re.sub('\x10[^\x11]*\x11', '\x10', inputs)
      # Whole words alone are replaced.
      assert not re.search('[A-Za-z0-9]\x10|\x10[A-Za-z0-9]', switched)
  assert kinds == {*BACK}


def test_as_many_as_the_rate_says_and_each_translation(path):
  row = BYTES.encode(['if the cat; if the dog; if if'])[0]
  rows = np.repeat(row[None], 10_000, axis=0)
  noiser = CodeSwitch(path, 0.3, growth=2.0)
  texts = decoded(noiser.pairs(rows, make_keys(10_000), SPECIAL).inputs)
  joined = '\n'.join(texts)
  share = {other: joined.count(other) / 10_000 for other in BACK}
  assert share['\x10A\x11'] == pytest.approx(0.3, abs=0.02)
  assert share['\x10BBBB\x11'] == pytest.approx(0.3, abs=0.02)
  for other in PAIRS['if']:
    assert share[other] == pytest.approx(0.4, abs=0.03)


def test_what_has_no_room_stays(path):
  rows, refused = BYTES.encode(['the the the if if if'])[0][None], []
  for seed in range(50):
    noiser = CodeSwitch(path, 1.0, growth=0.25)  # room for five bytes
    pairs = noiser.pairs(rows, make_keys(1, seed), SPECIAL)
    text, grown = decoded(pairs.inputs)[0], 0
    words = re.findall('the|if|\x10[^\x11]*\x11', text)
    assert len(words) == 6
    for i, word in enumerate(words):
      if word in PAIRS:
        refused.append(i)
        assert grown + max(map(len, PAIRS[word])) - len(word) > 5
        assert {*words[i:]} <= {'the', 'if', '\x10A\x11'}
        break
      grown += len(word) - len(BACK[word])
  assert min(refused) == 1 and max(refused) == 5


@pytest.mark.parametrize('maker', MAKERS.values(), ids=MAKERS)
def test_every_vocabulary(maker, tmp_path):
  special = special_of(maker(tmp_path))
  file = tmp_path / 'own.txt'
  file.write_text('trees\twoods\nSee\tTall\nfall\tfall in\n')
  text = 'trees fall, fall trees See trees'
  row = special.encode([text])[0][None]
  noiser = CodeSwitch(str(file), 1.0, growth=1.0)
  pairs = noiser.pairs(row, make_keys(1), special)
  wanted = 'woods fall in, fall in woods Tall woods'
  assert special.decode(pairs.inputs.tokens).strip() == wanted


def test_a_list_without_a_word_of_the_vocabulary_is_told(tmp_path):
  special = special_of(MAKERS['word piece'](tmp_path))
  file = tmp_path / 'own.txt'
  file.write_text('Äpfel\ttrees\ntrees\tÄpfel\n')
  with pytest.raises(UserError, match=r'CodeSwitch\.lexicon.*no tokens for'):
    CodeSwitch(str(file)).pairs(
      np.ones((1, 3), np.int32), make_keys(1), special
    )


@pytest.mark.parametrize(
  'fields, message',
  [
    ({'lexicon': ''}, r"CodeSwitch\.lexicon = ''"),
    ({'lexicon': 'a', 'rate': 0}, r'CodeSwitch\.rate = 0'),
    ({'lexicon': 'a', 'rate': 1.5}, r'CodeSwitch\.rate = 1\.5'),
    ({'lexicon': 'a', 'growth': -1}, r'CodeSwitch\.growth = -1'),
  ],
)
def test_mistakes_are_told(fields, message):
  with pytest.raises(UserError, match=message):
    CodeSwitch(**fields)


def test_spaces_stay_as_many_wherever_the_vocabulary_has_them(tmp_path):
  """Of 'see' and ' tall' one holds the space before it and one does not."""
  pieces = [*'abcdefghijklmnopqrstuvwxyz ', 'see', ' tall', ' low']

  def encode(texts):
    found = []
    for text in texts:
      tokens = []
      while text:
        piece = max(filter(text.startswith, pieces), key=len)
        tokens.append(pieces.index(piece))
        text = text.removeprefix(piece)
      found.append(np.array(tokens, np.int32))
    return found

  special = dataclasses.replace(
    SPECIAL,
    vocabulary_size=len(pieces),
    vocabulary_hash='spaces',
    end=len(pieces),
    decode=lambda tokens: ''.join(pieces[t] for t in tokens),
    encode=encode,
  )
  words = ['see', 'tall', 'low', 'abc']
  for word, other in itertools.permutations(words, 2):
    file = tmp_path / f'{word} {other}.txt'
    file.write_text(f'{word}\t{other}\n')
    noiser = CodeSwitch(str(file), 1.0, growth=9.0)
    text = f'x {word} {word} x'
    pairs = noiser.pairs(encode([text])[0][None], make_keys(1), special)
    written = special.decode(pairs.inputs.tokens)
    assert written == text.replace(word, other)
