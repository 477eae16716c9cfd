import dataclasses
import json

import pytest

from tests import tiny
from tpu_lm import plan
from tpu_lm.data.batches import BatchBuilder
from tpu_lm.data.layout import Layout
from tpu_lm.data.ledger import Ledger
from tpu_lm.data.mixing import Mixture
from tpu_lm.data.replay import Replay
from tpu_lm.data.supply import Exhausted
from tpu_lm.data.weights import FixedTokens, UniMax
from tpu_lm.entry import Ledgers, to_json
from tpu_lm.lineage import Lineage, definition
from tpu_lm.report.record import _sources
from tpu_lm.stages import describe, lay_out


def with_mixture(run, name, mixture):
  """The run with another mixture in one phase."""
  phases = [
    dataclasses.replace(phase, mixture=mixture) if phase.name == name else phase
    for phase in run.phases
  ]
  return dataclasses.replace(run, phases=tuple(phases))


def foresee(run, tmp_path):
  return plan.foresee(run, lay_out(run, tmp_path / 'run'))


def test_children_read_on_from_their_parents(tmp_path):
  readings = foresee(tiny.tree_run(tmp_path), tmp_path)
  base, branch, child = (readings[n] for n in ('base', 'base_annealed', 'next'))
  # 12 steps of 4 rows each.
  assert base.ledgers.entry == Ledger()
  assert base.end.rows == {'letters@16': 48}
  assert branch.end.rows == {'letters@16': 96}
  assert child.ledgers.entry == base.end
  assert child.ledgers.ancestors == {'base': (Ledger(), base.end)}
  # A quarter is replayed; of the rest all is code for 7 steps, then 2 in 3.
  assert child.end.rows == {
    'letters@16': 48 + 5,
    'code@16': 21 + 10,
    'replay:letters@16': 12,
  }
  assert child.rows_per_epoch.keys() == {'letters', 'code'}


def test_what_is_foreseen_is_what_is_read(tmp_path):
  run = tiny.tree_run(tmp_path)
  reading, phase = foresee(run, tmp_path)['next'], run.phases[2]
  entry = reading.ledgers.entry
  builder = BatchBuilder(run.corpus, phase.mixture, 4, Layout(16), entry)
  ledger = entry
  for step in range(12):
    _, ledger = builder.next(step, ledger)
  assert ledger.rows.keys() == reading.end.rows.keys()
  for key, count in ledger.rows.items():
    assert abs(count - reading.end.rows[key]) <= 1


def test_a_supply_too_small_is_told_before_training(tmp_path):
  run = tiny.tree_run(tmp_path)
  rows = foresee(run, tmp_path)['next'].rows_per_epoch['letters']
  again = {'letters': 1.0}
  # Base has read 48 rows, and 48 more are to be read.
  enough = Mixture(again, max_epochs=96 / rows + 0.5 / rows)
  foresee(with_mixture(run, 'next', enough), tmp_path)
  short = Mixture(again, max_epochs=94 / rows + 0.5 / rows)
  with pytest.raises(Exhausted, match=r"phase 'next': .*at about step 11 of"):
    foresee(with_mixture(run, 'next', short), tmp_path)


def test_a_phase_in_training_goes_on_from_its_own_ledger(tmp_path):
  run = tiny.tree_run(tmp_path)
  stages = lay_out(run, tmp_path / 'run')
  before, phase = plan.foresee(run, stages)['next'], run.phases[2]
  entry = ledger = before.ledgers.entry
  builder = BatchBuilder(run.corpus, phase.mixture, 4, Layout(16), entry)
  for step in range(5):
    _, ledger = builder.next(step, ledger)
  saved = Lineage(
    run='tiny',
    phase='next',
    parent=stages[2].parent,
    kind='trunk',
    status='running',
    start_step=12,
    end_step=17,
    start_tokens=768,
    end_tokens=1088,
    learning_rate=1e-3,
    entry_ledger=entry.to_json(),
    ledger=ledger.to_json(),
    ancestors=to_json(before.ledgers.ancestors),
    definition=definition(phase),
  )
  stages[2] = dataclasses.replace(stages[2], saved=saved)
  now = plan.foresee(run, stages)['next']
  assert now.ledgers == Ledgers(before.ledgers.ancestors, entry, ledger)
  assert now.end.rows == pytest.approx(dict(before.end.rows), abs=1)


@pytest.mark.parametrize(
  'weights',
  [UniMax(('letters', 'code'), 1), FixedTokens({'letters': 500, 'code': 300})],
)
def test_weights_of_sizes_go_through_a_run(tmp_path, weights):
  mixture = Mixture(weights, changes={7: weights}, replay=Replay(0.25))
  run = with_mixture(tiny.tree_run(tmp_path), 'next', mixture)
  end = foresee(run, tmp_path)['next'].end
  assert sum(end.rows.values()) == pytest.approx(96, abs=1)
  recorded = json.loads(json.dumps(definition(run.phases[2])))
  assert recorded == definition(run.phases[2])
  read = {'letters': 1, 'code': 2, 'replay:letters': 3}
  assert _sources(recorded, read, set()) == ('letters', 'code')
  text = describe(run, lay_out(run, tmp_path / 'run'))
  assert f'tokens of {type(weights).__name__} of letters, code, replay' in text
