"""Ledgers, lineages and run folders: read, or one line."""

import json

import pytest
from hypothesis import strategies

from tests import tiny
from tests.fuzz.mutations import (
  amounts,
  broken,
  broken_json,
  fuzz,
  listing,
  told,
)
from tpu_lm.data.ledger import Ledger
from tpu_lm.lineage import Lineage, Parent, definition
from tpu_lm.report import summary_table
from tpu_lm.run_folder import FORMAT, check_identity

LEDGER = Ledger(
  seed=3,
  rows={'letters@16': 40, 'replay:code@16': 8},
  debts={'letters': 5, 'code': -5},
  tokens={'letters': 640},
  stores={'letters': 'ab'},
).to_json()


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  return tiny.tree_run(tmp_path_factory.mktemp('stores'))


@pytest.fixture(scope='module')
def lineage(run):
  return Lineage(
    run='abc',
    phase='next',
    parent=Parent('base', 12, 1e-3),
    kind='trunk',
    status='done',
    start_step=12,
    end_step=24,
    start_tokens=768,
    end_tokens=1536,
    learning_rate=1e-3,
    entry_ledger=LEDGER,
    ledger=LEDGER,
    ancestors={'base': {'entry_ledger': LEDGER, 'ledger': LEDGER}},
    definition=definition(run.phases[-1]),
  ).to_json()


@amounts(150)
def test_ledgers(examples):
  fuzz(
    lambda value: told(Ledger.from_json, value), broken_json(LEDGER), examples
  )


@amounts(150)
def test_lineages(lineage, examples):
  def check(value):
    found = told(Lineage.from_json, value)
    assert found is None or Lineage.from_json(found.to_json()) == found

  check(lineage)
  fuzz(check, broken_json(lineage), examples)


@amounts(150)
def test_run_folders(run, examples, tmp_path):
  path = tmp_path / 'run.json'
  valid = {
    'format': FORMAT,
    'run': 'abc',
    'name': run.name,
    'seed': run.seed,
    'parameters': 20_000,
    'model': definition(run.model),
  }

  def check(value):
    if not isinstance(value, bytes):
      value = json.dumps(value).encode()
    path.write_bytes(value)
    before = listing(tmp_path)
    told(check_identity, run, tmp_path)
    assert listing(tmp_path) == before

  check(valid)
  text = json.dumps(valid).encode()
  fuzz(check, strategies.one_of(broken(text), broken_json(valid)), examples)


@pytest.fixture
def folder(lineage, tmp_path):
  """A run folder that a report can be written of."""
  base = {**lineage, 'phase': 'base', 'parent': None, 'start_step': 0}
  for name, value in (('base', base), ('next', lineage)):
    path = tmp_path / 'phases' / name / 'lineage.json'
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(value))
  points = [
    {'step': step, 'phase': phase, 'name': name, 'value': 3.5, 'tokens': 64}
    for phase, step in (('base', 0), ('base', 12), ('next', 12), ('next', 24))
    for name in ('train/loss', 'validation/loss/letters')
  ]
  lines = ''.join(json.dumps(point) + '\n' for point in points)
  (tmp_path / 'metrics.jsonl').write_text(lines)
  (tmp_path / 'timings.jsonl').write_text('')
  (tmp_path / 'run.json').write_text('{"name": "a"}')
  return tmp_path


@amounts(100)
@pytest.mark.parametrize(
  'name', ['run.json', 'metrics.jsonl', 'phases/next/lineage.json']
)
def test_reports(folder, name, examples):
  """What is broken is left out with a note, or the report is refused."""
  path = folder / name
  valid = path.read_bytes()

  def check(value):
    if not isinstance(value, bytes):
      value = json.dumps(value).encode()
    path.write_bytes(value)
    before = listing(folder)
    told(summary_table, folder)
    assert listing(folder) == before

  check(valid)
  ways = [broken(valid)]
  if name.endswith('.json'):
    ways.append(broken_json(json.loads(valid)))
  fuzz(check, strategies.one_of(ways), examples)
