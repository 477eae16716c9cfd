"""Words in the tokens of every kind of vocabulary."""

import dataclasses
import itertools
import re
import time

import numpy as np
import pytest

from tests.data.noise.made import BYTES, SPECIAL, make_rows
from tpu_lm.checks import UserError
from tpu_lm.data.noise import words
from tpu_lm.data.special_tokens import Special
from tpu_lm.data.vocabularies.tokenizer_json import TokenizerJson
from tpu_lm.data.vocabularies.train import train_sentence_piece

TEXT = 'Tall trees, do fall (in 42 woods) .\n  See x_y.org naïve 日本語 ok'
PARTS = 'Tall trees , do fall ( in 42 woods ) . See x _ y . org naïve'
PIECE = re.compile(r'[^\W_]+|[^\w\s]|_')


def special_of(vocabulary):
  return Special(
    vocabulary_size=vocabulary.size,
    vocabulary_hash=vocabulary.describe()['hash'],
    end=vocabulary.end,
    start=0,
    sentinels=0,
    ids={},
    decode=vocabulary.decode,
    encode=vocabulary.encode,
  )


def units(vocabulary, text=TEXT):
  """The text of each unit."""
  special = special_of(vocabulary)
  tokens = vocabulary.encode([text])[0]
  starts = words.word_starts(tokens[None], words.word_table(special))[0]
  places = np.append(np.flatnonzero(starts), len(tokens))
  return [vocabulary.decode(tokens[a:b]) for a, b in itertools.pairwise(places)]


def sentence_piece(folder, kind):
  size = {'unigram': 296, 'bpe': 330}[kind]
  lines = [TEXT, 'tall trees fall in the woods', 'see ever more of them'] * 9
  return train_sentence_piece(lines, folder / kind, size, kind)


def byte_pairs(folder, marker=False):
  """A tokenizer.json of byte pairs, or of words whose rest is marked."""
  import tokenizers
  from tokenizers import decoders, models, pre_tokenizers, trainers

  kind = models.WordPiece(unk_token='?') if marker else models.BPE()
  tokenizer = tokenizers.Tokenizer(kind)
  if marker:
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
      vocab_size=90, special_tokens=['?', '<end>'], show_progress=False
    )
  else:
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
      vocab_size=320,
      special_tokens=['<end>'],
      initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
      show_progress=False,
    )
  tokenizer.train_from_iterator([TEXT] * 5, trainer)
  path = folder / f'tokens{marker}.json'
  tokenizer.save(str(path))
  return TokenizerJson(str(path), end_token='<end>')


MAKERS = {
  'bytes': lambda folder: BYTES,
  'unigram': lambda folder: sentence_piece(folder, 'unigram'),
  'bpe': lambda folder: sentence_piece(folder, 'bpe'),
  'byte level': byte_pairs,
  'word piece': lambda folder: byte_pairs(folder, marker=True),
}


@pytest.mark.parametrize('maker', MAKERS.values(), ids=MAKERS)
def test_units_are_words_and_marks(maker, tmp_path):
  found = [unit.strip() for unit in units(maker(tmp_path))]
  wanted = PARTS.split()
  assert [unit for unit in found if unit][: len(wanted)] == wanted


@pytest.mark.parametrize('kind', ['unigram', 'bpe'])
def test_pieces_written_without_spaces_are_words_of_their_own(kind, tmp_path):
  vocabulary = sentence_piece(tmp_path, kind)
  pieces = [vocabulary.decode([t]) for t in vocabulary.encode([TEXT])[0]]
  wanted = [piece for piece in pieces if {*piece} & {*'日本語'}]
  assert wanted
  assert [unit for unit in units(vocabulary) if {*unit} & {*'日本語'}] == wanted


def test_bytes_of_random_text_are_split_as_a_pattern_splits_them():
  rng = np.random.default_rng(0)
  alphabet = [*"abcXYZ019 \n_.,'()-"]
  for _ in range(1000):
    text = ''.join(rng.choice(alphabet, rng.integers(1, 40)))
    found = [unit for unit in units(BYTES, text) if not unit.isspace()]
    assert found == PIECE.findall(text)


def test_places_are_those_of_the_words_of_each_document():
  rows = make_rows(200, 60)
  rng = np.random.default_rng(1)
  # Documents that end without an end token, and padding.
  segments = np.cumsum(rng.random(rows.shape) < 0.1, axis=1) + 1
  segments[::3, 50:] = 0
  rows[segments == 0] = 0
  starts, stops = words.word_places(rows, segments, SPECIAL)
  wanted = []
  for row, (line, documents) in enumerate(zip(rows, segments)):
    for document in np.unique(documents):
      places = np.flatnonzero(documents == document)
      text = ''.join(chr(max(t - 3, 0)) for t in line[places])
      for match in re.finditer(r'\x00|[^\W_]+|[^\w\s]|_', text):
        wanted.append([row * 60 + places[0] + at for at in match.span()])
  assert np.stack([starts, stops], 1).tolist() == sorted(wanted)


def test_a_piece_with_white_space_at_its_end_ends_a_word():
  """As SentencePiece's treat_whitespace_as_suffix makes them."""
  texts = ['a', 'b ', 'c', '.', ' ', 'é', ' d', '\ufffd', '日', '']
  special = dataclasses.replace(
    SPECIAL,
    vocabulary_size=len(texts),
    vocabulary_hash='suffixes',
    decode=lambda tokens: ''.join(texts[t] for t in tokens),
  )
  assert words.token_texts(special) == tuple(texts)
  tokens = [0, 1, 2, 3, 0, 4, 5, 7, 0, 6, 8, 8, 2, 9, 2]
  starts = words.word_starts(np.array([tokens]), words.word_table(special))
  assert starts[0].tolist() == [
    bool(int(c))
    for c in '101111100111111'  # ab |c|.|a| |é.a| d|日|日|c||c
  ]


def test_the_table_is_worked_out_once():
  first = words.word_table(SPECIAL)
  start = time.perf_counter()
  assert words.word_table(dataclasses.replace(SPECIAL, start=5)) is first
  assert time.perf_counter() - start < 0.01
  with pytest.raises(ValueError, match='read-only'):
    first[0] = 1


def test_without_a_vocabulary_it_is_said():
  nothing = dataclasses.replace(SPECIAL, decode=None)
  with pytest.raises(UserError, match=r'Set Corpus\.vocabulary'):
    words.word_table(nothing)
