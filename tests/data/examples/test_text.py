import re

import pytest

from tpu_lm.checks import UserError
from tpu_lm.data.document import BadRecord
from tpu_lm.data.examples.text import Text


def test_a_field_within_fields():
  example = Text('article.parts.1.body')
  record = {'article': {'parts': [{'body': 'a'}, {'body': 'b'}]}}
  assert example.fields == ('article',)
  assert example.pieces(record) == [('b', True)]
  with pytest.raises(BadRecord, match=r"no field 'article\.parts\.2'"):
    Text('article.parts.2').pieces(record)


def test_bad_records_are_told():
  with pytest.raises(
    BadRecord, match=re.escape("no field 'text' (it has 'txt', 'url')")
  ):
    Text().pieces({'txt': 'x', 'url': 'y'})
  with pytest.raises(BadRecord, match="field 'text' is null"):
    Text().pieces({'text': None})
  with pytest.raises(BadRecord, match="field 'text' is list, not text"):
    Text().pieces({'text': ['x']})
  with pytest.raises(BadRecord, match=r"'k7', \.\.\.\)"):
    Text().pieces({f'k{i}': 'x' for i in range(20)})


@pytest.mark.parametrize('field', ['', 'a..b', '.a', 3, None])
def test_bad_names_of_fields_are_told(field):
  with pytest.raises(UserError, match=r'Text\.field'):
    Text(field)
  with pytest.raises(UserError, match=r'Text\.whole'):
    Text(whole=1)
