import dataclasses
import json

import pytest

from tpu_lm.checks import UserError
from tpu_lm.data.ledger import Ledger

FULL = {
  'seed': 3,
  'rows': {'prose@256': 2400, 'replay:prose@256': 100},
  'debts': {'prose': -12, 'python': 12},
  'tokens': {'prose': 614400, 'replay:prose': 25600},
  'stores': {'prose': '0a1b'},
  'skipped': [
    {
      'phase': 'base',
      'step': 40,
      'back_to': None,
      'why': 'loss not finite',
      'rows': {'prose@256': [312, 320]},
      'stores': {'prose': '0a1b'},
    }
  ],
}


def test_goes_through_json_and_back():
  ledger = Ledger.from_json(json.loads(json.dumps(FULL)))
  assert ledger.to_json() == FULL
  assert Ledger.from_json(ledger.to_json()) == ledger
  assert Ledger().to_json()['rows'] == {}


def test_those_of_the_first_format_skipped_nothing():
  old = {key: value for key, value in FULL.items() if key != 'skipped'}
  assert Ledger.from_json(old).skipped == ()


def test_cannot_be_changed():
  rows = {'prose@256': 1}
  ledger = Ledger(rows=rows)
  rows['prose@256'] = 2
  assert ledger.rows == {'prose@256': 1}
  with pytest.raises(TypeError):
    ledger.rows['prose@256'] = 2
  with pytest.raises(dataclasses.FrozenInstanceError):
    ledger.seed = 1


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'seed': 1.5}, 'seed = 1.5'),
    ({'rows': {'prose@256': -1}}, 'must be >= 0'),
    ({'rows': {'prose@256': 2.0}}, 'must be of int'),
    ({'rows': {'prose@256': True}}, 'must be of int'),
    ({'rows': [1]}, 'must be a mapping'),
    ({'debts': {'prose': 1}}, 'must sum to 0'),
    ({'stores': {'prose': 1}}, 'must be of str'),
    ({'unknown': 1}, 'expected the keys'),
  ],
)
def test_what_is_no_ledger_is_told(change, message):
  with pytest.raises(UserError, match=message):
    Ledger.from_json({**FULL, **change})
