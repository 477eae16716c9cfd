import pytest

from tpu_lm.checks import UserError
from tpu_lm.data.examples.pair import Pair, ReversedPair


def test_the_loss_is_on_the_targets():
  example = Pair('en', 'de', prefix='Translate: ', separator=' =')
  assert example.fields == ('en', 'de')
  assert example.pieces({'en': 'dog', 'de': 'Hund'}) == [
    ('Translate: dog =', False),
    ('Hund', True),
  ]


def test_two_fields_of_one():
  example = Pair('translation.en', 'translation.de')
  assert example.fields == ('translation',)
  record = {'translation': {'en': 'dog', 'de': 'Hund'}}
  assert example.pieces(record) == [('dog\n', False), ('Hund', True)]


def test_the_words_of_the_inputs_in_reverse():
  example = ReversedPair('en', 'de', prefix='Translate: ', separator=' =')
  record = {'en': ' the old\n\tdog ', 'de': 'der alte  Hund'}
  assert example.pieces(record) == [
    ('Translate: dog old the =', False),
    ('der alte  Hund', True),
  ]
  assert example.pieces({'en': 'dog', 'de': ''}) == []


@pytest.mark.parametrize('key', ['inputs', 'targets', 'prefix', 'separator'])
def test_wrong_values_name_their_key(key):
  with pytest.raises(UserError, match=rf'Pair\.{key} = 5'):
    Pair(**{key: 5})
