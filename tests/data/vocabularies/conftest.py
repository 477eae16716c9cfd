"""One vocabulary of each kind, made here of a small text."""

import argparse
import gzip
import pathlib

import pytest
import sentencepiece
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from tpu_lm.data.vocabularies.bytes import Bytes
from tpu_lm.data.vocabularies.sentence_piece import SentencePiece
from tpu_lm.data.vocabularies.tokenizer_json import TokenizerJson
from tpu_lm.data.vocabularies.train import train_sentence_piece

SPECIAL = ['<pad>', '</s>', '<unk>', '<|endoftext|>']
SIZE = 400


@pytest.fixture(scope='session')
def text():
  """A hundred thousand characters with words, code and umlauts."""
  words = 'Äpfel, Öl und süße Brötchen für 12 Euro.\n\tif x:\n\t\treturn\n'
  return pathlib.Path(argparse.__file__).read_text() + words * 50


@pytest.fixture(scope='session')
def vocabularies(tmp_path_factory, text):
  """Name to vocabulary."""
  folder = tmp_path_factory.mktemp('vocabularies')
  return {
    'bytes': Bytes(),
    'unigram': train_sentence_piece([text], folder / 'unigram', SIZE),
    'bpe': train_sentence_piece([text], folder / 'bpe', SIZE, 'bpe'),
    'foreign': foreign_model(folder / 'foreign.model', text),
    'json_bpe': byte_level(folder / 'bpe.json', text),
    'json_unigram': unigram_json(folder / 'unigram.json.gz', text),
    'json_word': word_json(folder / 'word.json'),
  }


def foreign_model(path, text, **options):
  """A model as SentencePiece trains it by default: it normalises."""
  with path.open('wb') as file:
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(text.splitlines()),
      model_writer=file,
      vocab_size=SIZE,
      minloglevel=3,
      **options,
    )
  return SentencePiece(str(path))


def byte_level(path, text):
  """As GPT-2's."""
  tokenizer = tokenizers.Tokenizer(models.BPE())
  tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  tokenizer.decoder = decoders.ByteLevel()
  trainer = trainers.BpeTrainer(
    vocab_size=SIZE,
    special_tokens=SPECIAL,
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    show_progress=False,
  )
  tokenizer.train_from_iterator([text], trainer)
  tokenizer.add_tokens(['        '])  # ordinary ones, matched in texts
  tokenizer.save(str(path))
  return TokenizerJson(str(path))


def unigram_json(path, text):
  """As T5's: its special tokens are among the pieces."""
  tokenizer = tokenizers.Tokenizer(models.Unigram())
  tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
  tokenizer.decoder = decoders.Metaspace()
  trainer = trainers.UnigramTrainer(
    vocab_size=SIZE,
    special_tokens=SPECIAL,
    unk_token='<unk>',
    show_progress=False,
  )
  tokenizer.train_from_iterator([text], trainer)
  path.write_bytes(gzip.compress(tokenizer.to_str().encode()))
  return TokenizerJson(str(path), '</s>')


def word_json(path):
  """Whole words, with its special tokens among them."""
  names = [*SPECIAL, 'the', 'word', '.']
  tokenizer = tokenizers.Tokenizer(
    models.WordLevel({name: i for i, name in enumerate(names)}, '<unk>')
  )
  tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
  tokenizer.save(str(path))  # and no token is declared as special
  return TokenizerJson(str(path))
