"""Texts to train a vocabulary on."""

import pytest

from tests.data.helpers import text_files
from tpu_lm.checks import UserError
from tpu_lm.data.corpus import Corpus
from tpu_lm.data.vocabularies.sentence_piece import SentencePiece
from tpu_lm.survey import sample
from tpu_lm.survey.sample import sample_texts


@pytest.fixture
def corpus(tmp_path):
  """Two sources, of 40 and 3 texts; no model of the vocabulary yet."""
  many = [f'äther {i:02d} ' * 10 for i in range(40)]
  return Corpus(
    files=(
      text_files(tmp_path, 'many', ['', *many]),
      text_files(tmp_path, 'few', ['x' * 100] * 3),
    ),
    store_dir=str(tmp_path / 'stores'),
    vocabulary=SentencePiece(str(tmp_path / 'not_trained_yet.model')),
  )


def size(texts, letter):
  return sum(len(t.encode()) for t in texts if letter in t)


def test_sources_are_in_proportion_to_their_weights(corpus):
  texts = list(sample_texts(corpus, {'many': 3.0, 'few': 1.0}, 1000, 0))
  assert (size(texts, 'h'), size(texts, 'x')) == (750, 250)
  assert all(texts)


def test_equal_arguments_give_equal_samples(corpus):
  weights = {'many': 1.0, 'few': 2.0}
  one, again = (list(sample_texts(corpus, weights, 500, 7)) for _ in range(2))
  assert one == again


def test_a_source_that_runs_out_is_not_repeated(corpus):
  texts = list(sample_texts(corpus, {'few': 1.0}, 10_000, 0))
  assert texts == ['x' * 100] * 3


def test_a_character_is_not_cut_in_two(corpus):
  texts = list(sample_texts(corpus, {'many': 1.0}, 1, 0))
  assert texts == []


def test_the_sample_is_spread_over_shards(tmp_path, monkeypatch):
  monkeypatch.setattr(sample, 'OPEN_SHARDS', 3)

  class Recipe:
    task = 'numbers'

    def shards(self):
      return range(10)

    def documents(self, shard, counts):
      for place in range(4):
        yield None if place == 2 else Document(f'{shard}.{place}')

  class Document:
    def __init__(self, text):
      self.text = text

  texts = list(sample._spread(Recipe(), 0))
  assert sorted(texts) == sorted(
    f'{s}.{p}' for s in range(10) for p in (0, 1, 3)
  )
  assert len({text.split('.')[0] for text in texts[:3]}) == 3
  assert texts != list(sample._spread(Recipe(), 1))


def test_no_weights(corpus):
  with pytest.raises(UserError, match='no source has a weight above 0'):
    list(sample_texts(corpus, {'many': 0.0}, 100, 0))
