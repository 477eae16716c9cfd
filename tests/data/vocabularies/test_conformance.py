"""What every vocabulary keeps to."""

import dataclasses
import pickle
import shutil

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

KINDS = [
  'bytes',
  'unigram',
  'bpe',
  'foreign',
  'json_bpe',
  'json_unigram',
  'json_word',
]
EXACT = ['bytes', 'unigram', 'bpe', 'json_bpe']
AWKWARD = {
  'emoji': '\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f3f3\ufe0f\u200d',
  'composed': '\u00e9 \u1e69 \ufb01 \u212b',
  'decomposed': 'e\u0301 s\u0323\u0307 \u1100\u1161\u11a8',
  'marks without a letter': '\u0301\u0301 \u0301',
  'right to left': '\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 x',
  'directions': '\u202eabc\u202c \u200f\u200e',
  'tabs': '\tif x:\n\t\treturn\t \t',
  'spaces': '   a  b   ',
  'one space': ' ',
  'kinds of space': 'a\u00a0b\u2003c\u3000d\u200be\ufeff',
  'lines': '\n\na\r\nb\rc\x0b\x0cd\n',
  'separators': 'a\u2028b\u2029c\x85d',
  'controls': '\0a\x01\x1b[0m\x7f\0',
  'space sign': '\u2581a\u2581 \u2581\u2581b\u2585',
  'not characters': '\ufffe\uffff\U0010ffff\ufffd',
  'private': '\ue000\U000f0000',
  'scripts': '漢字かな ไทย हिन्दी 한국어 Ωψ Жщ',
  'digits': '1234567890 ٣٤ ½ ²',
  'special tokens': '<|endoftext|></s> </s><pad>a<unk>b <s> [EOS] <0x0A>',
  'special token': '</s>',
  'special tokens as words': 'the </s> <|endoftext|> <pad> <unk> word',
  'long word': 'x' * 5000,
  'long': 'What is it, then? ' * 2000 + '\n' * 3000 + ' ' * 3000,
}
TEXTS = st.text(
  st.characters(exclude_categories=['Cs'])
  | st.sampled_from(' \n\tae1\u0301\u2581\u2585\r<>/s'),
  max_size=60,
)


@pytest.fixture(scope='session', params=KINDS)
def vocabulary(request, vocabularies):
  return vocabularies[request.param]


@pytest.fixture(scope='session', params=EXACT)
def exact(request, vocabularies):
  return vocabularies[request.param]


def check_tokens(vocabulary, tokens):
  assert tokens.dtype == np.int32 and tokens.ndim == 1
  assert ((tokens >= 0) & (tokens < vocabulary.size)).all()
  assert vocabulary.end not in tokens
  assert vocabulary.pad not in tokens


@pytest.mark.parametrize('name', AWKWARD)
def test_awkward_texts_come_back(exact, name):
  (tokens,) = exact.encode([AWKWARD[name]])
  assert exact.decode(tokens) == AWKWARD[name]


@hypothesis.settings(deadline=None)
@hypothesis.given(text=TEXTS)
def test_any_text_comes_back(exact, text):
  assert exact.decode(exact.encode([text])[0]) == text


@pytest.mark.parametrize('name', AWKWARD)
def test_no_awkward_text_ends_a_document(vocabulary, name):
  check_tokens(vocabulary, vocabulary.encode([AWKWARD[name]])[0])


@hypothesis.settings(deadline=None)
@hypothesis.given(text=TEXTS)
def test_no_text_ends_a_document(vocabulary, text):
  check_tokens(vocabulary, vocabulary.encode([text])[0])


def test_a_batch_is_encoded_one_by_one(vocabulary):
  texts = [*AWKWARD.values(), '']
  for text, tokens in zip(texts, vocabulary.encode(texts), strict=True):
    np.testing.assert_array_equal(tokens, vocabulary.encode([text])[0])


def test_nothing_has_no_tokens(vocabulary):
  (tokens,) = vocabulary.encode([''])
  assert tokens.shape == (0,) and tokens.dtype == np.int32
  assert vocabulary.encode([]) == []
  assert vocabulary.decode(tokens) == ''


def test_special_and_unknown_tokens_give_no_text(vocabulary):
  tokens = vocabulary.encode(['the word'])[0].tolist()
  text = vocabulary.decode(np.array(tokens))
  others = [vocabulary.pad, vocabulary.end, -1, vocabulary.size + 5]
  for dtype in np.int32, np.int64:
    mixed = np.array([*others, *tokens, *others], dtype)
    assert vocabulary.decode(mixed) == text
  assert 'the' in text


def test_half_a_surrogate_pair_is_an_error(vocabulary):
  with pytest.raises(UnicodeEncodeError):
    vocabulary.encode(['good', 'bad \ud83d'])


def test_it_is_pickled_small(vocabulary):
  vocabulary.encode(['loads it'])
  data = pickle.dumps(vocabulary)
  assert len(data) < 1000
  again = pickle.loads(data)
  assert again == vocabulary and hash(again) == hash(vocabulary)
  assert again.describe() == vocabulary.describe()


def test_a_copy_has_the_same_hash(vocabulary, tmp_path):
  described = vocabulary.describe()
  assert len(described['hash']) == 32 and int(described['hash'], 16)
  assert f'{vocabulary.size} tokens' in described['description']
  if hasattr(vocabulary, 'path'):
    path = shutil.copy(vocabulary.path, tmp_path / 'other name')
    copy = dataclasses.replace(vocabulary, path=str(path))
    assert copy.describe()['hash'] == described['hash']


def test_kinds_have_different_hashes(vocabularies):
  hashes = {v.describe()['hash'] for v in vocabularies.values()}
  assert len(hashes) == len(KINDS)
