"""Long texts are cut where that changes nothing."""

import random

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2

from tests.data.vocabularies.conftest import foreign_model
from tpu_lm.data.vocabularies import stretches

# Models without a way to cut, or with the least room for one.
OPTIONS = {
  'no prefix': {'add_dummy_prefix': False},
  'spaces stay': {'remove_extra_whitespaces': False},
  'normalises': {'add_dummy_prefix': False, 'remove_extra_whitespaces': False},
  'suffix': {'treat_whitespace_as_suffix': True},
  'phrases': {'split_by_whitespace': False, 'model_type': 'bpe'},
  'bytes': {'byte_fallback': True},
  'bpe': {'model_type': 'bpe'},
}
TEXTS = st.lists(
  st.sampled_from(['the', 'if', 'x', ' ', ' ', '  ', '\n', '\u0301', 'ü', '.']),
  max_size=80,
).map(''.join)


@pytest.fixture(scope='session')
def models(vocabularies, tmp_path_factory, text):
  folder = tmp_path_factory.mktemp('models')
  found = {
    name: foreign_model(folder / f'{name}.model', text, **options)
    for name, options in OPTIONS.items()
  }
  ours = {name: vocabularies[name] for name in ('unigram', 'bpe')}
  return {**found, **{f'our {name}': model for name, model in ours.items()}}


@pytest.fixture(scope='session', params=[*OPTIONS, 'our unigram', 'our bpe'])
def model(request, models):
  return models[request.param]


@hypothesis.settings(deadline=None)
@hypothesis.given(text=TEXTS)
def test_cuts_change_no_token(model, text):
  whole = model.encode([text])[0]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(stretches, 'LEAST', 5)
    cut = model.encode([text])[0]
  if 'unigram' in model.describe()['description']:
    # Of two splits with the same score any may win.
    assert score(model, cut) == pytest.approx(score(model, whole), rel=1e-6)
    assert model.decode(cut) == model.decode(whole)
  else:
    np.testing.assert_array_equal(cut, whole)


def score(model, tokens):
  """The sum in double precision that a unigram model maximises."""
  scores = map(model._model.processor.get_score, range(model.size))
  return np.array([*scores])[tokens].sum()


def test_texts_are_cut(models, text, monkeypatch):
  monkeypatch.setattr(stretches, 'LEAST', 5)
  cut = {name: cuts(model, text) > 100 for name, model in models.items()}
  never = {'no prefix', 'suffix', 'phrases'}
  assert {name for name, some in cut.items() if not some} == never


def cuts(model, text):
  proto = sentencepiece_model_pb2.ModelProto()
  with open(model.path, 'rb') as file:
    proto.ParseFromString(file.read())
  return len(stretches.stretches_of(proto).cut(text))


def test_a_long_text_is_split_as_well_as_a_short_one(models, text):
  unit = ''.join(f' {word}' for word in text.split()[:200])
  model = models['our unigram']
  assert len(unit) < stretches.LEAST
  (short,), (long,) = model.encode([unit]), model.encode([unit * 1000])
  expected = 1000 * score(model, short)
  assert score(model, long) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize('name', ['our unigram', 'our bpe'])
def test_a_text_without_any_place_to_cut_comes_back(models, name):
  text = ''.join(random.Random(0).choices('ACGTü', k=300_000))
  model = models[name]
  assert model.decode(model.encode([text])[0]) == text
  longest = max(map(len, model._model.stretches.cut(text)))
  assert longest == stretches.MOST
