"""Entities by rule and from a list."""

import numpy as np
import pytest

from tests.data.noise.made import BYTES, SPECIAL, make_keys
from tests.data.noise.test_words import MAKERS, special_of
from tpu_lm.checks import UserError
from tpu_lm.data.noise.entities import Entities
from tpu_lm.data.noise.masked_lm import MaskedLM

TEXT = 'In May, Ada and "Bob" met 12 men. "Yes! (No)," said Ada-Lee.\nThe 3rd'
NAMES = ['May', 'Ada', 'Bob', 'Ada', 'Lee']
NUMBERS = ['12', '3rd']


@pytest.fixture
def listed(tmp_path):
  path = tmp_path / 'list.txt'
  path.write_text(
    'Ada\tperson\nAda-Lee\tperson\nmet\tverb\nmay\tmonth\nmet\tnoun\n'
  )
  return str(path)


def found(kind, text=TEXT, special=SPECIAL, segments=None):
  """The hidden part of each unit that has one."""
  tokens = special.encode([text])[0][None]
  segments = tokens * 0 + 1 if segments is None else segments
  starts, hidden = kind.divide(tokens, segments, make_keys(1), special)
  assert starts[0, 0]
  places = [*np.flatnonzero(starts[0]), tokens.shape[1]]
  units = []
  for i, begin in enumerate(places[:-1]):
    inside = begin + np.flatnonzero(hidden[0, begin : places[i + 1]])
    if len(inside):
      assert len(inside) == inside[-1] + 1 - inside[0]
      units.append(special.decode(tokens[0, inside]))
  return [unit.strip() for unit in units]


@pytest.mark.parametrize('maker', MAKERS.values(), ids=MAKERS)
def test_rules(maker, tmp_path):
  special = special_of(maker(tmp_path))
  text = 'See trees See (See 42) See. (See) trees. See, See'
  kind = Entities(('capitalised',), whole=True)
  assert found(kind, text, special) == ['See', 'See', 'See', 'See']
  assert found(Entities(('number',), whole=True), text, special) == ['42']
  assert len(found(Entities(whole=True), text, special)) == 5


def test_where_sentences_start():
  text = 'Xe! (Xe 1?) "Xe": - Xe; Xe\n Xe, Xe'
  kind = Entities(('capitalised',), whole=True)
  assert found(kind, text) == ['Xe', 'Xe']


def test_rules_in_bytes():
  assert found(Entities(('capitalised',), whole=True)) == NAMES
  assert found(Entities(('number',), whole=True)) == NUMBERS
  assert sorted(found(Entities(whole=True))) == sorted(NAMES + NUMBERS)


def test_a_document_starts_a_sentence():
  text = 'so May Ada'
  segments = np.array([[1] * 7 + [2] * 3])
  assert found(Entities(whole=True), text) == ['May', 'Ada']
  assert found(Entities(whole=True), text, segments=segments) == ['May']


def test_the_list_goes_before_the_rules(listed):
  kind = Entities(lexicon=listed, whole=True)
  wanted = ['May', 'Ada', 'Bob', 'met', '12', 'Ada-Lee', '3rd']
  assert found(kind) == wanted
  assert found(Entities(('person',), listed, whole=True)) == ['Ada', 'Ada-Lee']
  assert found(Entities(('verb', 'number'), listed, whole=True)) == [
    'met',
    '12',
    '3rd',
  ]
  with pytest.raises(UserError, match='no phrase of these classes'):
    found(Entities(('noun',), listed))  # its one phrase is a verb first


def test_one_token_of_each_each_as_likely():
  text = 'see Ada and 1234 men'
  row = BYTES.encode([text])[0]
  rows = np.repeat(row[None], 20_000, axis=0)
  kind = Entities()
  keys = make_keys(20_000)
  starts, hidden = kind.divide(rows, rows * 0 + 1, keys, SPECIAL)
  assert np.all(hidden[:, 4:7].sum(1) == 1)
  assert np.all(hidden[:, 12:16].sum(1) == 1)
  assert np.all(hidden.sum(1) == 2)
  assert np.all(np.abs(hidden[:, 4:7].mean(0) - 1 / 3) < 0.015)
  assert np.all(np.abs(hidden[:, 12:16].mean(0) - 1 / 4) < 0.015)
  assert np.flatnonzero(starts[0]).tolist() == [0, 4, 7, 12, 16]


def test_where_there_are_few_all_are_hidden_once():
  row = BYTES.encode(['so much text and 1 name: x, of Ada.'])[0][None]
  noiser = MaskedLM(0.5, Entities(), mask=1.0, random=0.0)
  for seed in range(20):
    _, chosen = noiser.hide(row, row * 0 + 1, make_keys(1, seed), SPECIAL)
    assert chosen.sum() == 2 and chosen[0, 17]


def test_the_list_is_read_again_when_it_changes(listed):
  kind = Entities(('person',), listed, whole=True)
  assert found(kind) == ['Ada', 'Ada-Lee']
  with open(listed, 'a') as file:
    file.write('Bob\tperson\n')
  assert found(kind) == ['Ada', 'Bob', 'Ada-Lee']


@pytest.mark.parametrize(
  'make, message',
  [
    (lambda _: Entities('number'), r"Entities\.classes = 'number'"),
    (lambda _: Entities(('numbers',)), r"'numbers'.*Did you mean: number"),
    (lambda path: found(Entities(('persn',), path)), 'mean: person'),
    (lambda _: Entities(lexicon=None), r'Entities\.lexicon = None'),
    (lambda _: Entities(whole=1), r'Entities\.whole = 1'),
    (lambda _: found(Entities(lexicon='/no')), 'there is no such file'),
  ],
)
def test_mistakes_are_told(make, message, listed):
  with pytest.raises(UserError, match=message):
    make(listed)
