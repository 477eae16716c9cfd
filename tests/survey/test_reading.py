"""What a run's phases will read, against what they read."""

import dataclasses

import numpy as np
import pytest

from tests.data.helpers import tiny_store
from tests.survey.printing import printed
from tests.tiny import tree_run
from tpu_lm.data.batches import BatchBuilder
from tpu_lm.data.layout import Layout
from tpu_lm.data.ledger import Ledger
from tpu_lm.data.mixing import Mixture
from tpu_lm.data.rows import open_rows
from tpu_lm.stages import lay_out
from tpu_lm.survey.reading import reading_table, readings_of

STEPS = 400


def read_for_real(run):
  """The ledgers at entry and end of each phase, by building every batch."""
  ledgers = {}
  for phase in run.phases:
    above = ledgers.get(phase.parent)
    entry = above[1] if above else Ledger(seed=run.seed)
    ancestors = {phase.parent: above} if above else {}
    builder = BatchBuilder(
      run.corpus,
      phase.mixture,
      phase.batch_size,
      Layout(phase.sequence_length),
      entry,
      ancestors=ancestors,
      steps=phase.steps,
    )
    ledger = entry
    for step in range(phase.steps):
      _, ledger = builder.next(step, ledger)
    ledgers[phase.name] = entry, ledger
  return ledgers


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  return tree_run(tmp_path_factory.mktemp('stores'), steps=STEPS)


@pytest.fixture(scope='module')
def readings(run, tmp_path_factory):
  stages = lay_out(run, tmp_path_factory.mktemp('run'))
  found, trouble = readings_of(run, stages)
  assert trouble == ''
  return found


def test_rows_are_those_that_training_reads(run, readings):
  for name, (entry, end) in read_for_real(run).items():
    phase = next(phase for phase in run.phases if phase.name == name)
    for one in readings[name]:
      tokens = end.tokens[one.name] - entry.tokens.get(one.name, 0)
      rows = tokens / phase.sequence_length
      # One for each of two weightings, and one for the rounding.
      assert one.rows == pytest.approx(rows, abs=3)
      assert one.tokens == one.rows * phase.sequence_length
    assert sum(one.share for one in readings[name]) == pytest.approx(1)


def test_epochs_add_up_along_the_lineage(run, readings):
  letters = open_rows(
    run.corpus.open('letters', 'train'), Layout(16), 0, 'letters'
  )
  [base] = readings['base']
  epoch = letters.rows_per_epoch
  assert base.epochs == base.epochs_so_far == 4 * STEPS / epoch
  [annealed] = readings['base_annealed']
  assert annealed.epochs_so_far == pytest.approx(2 * base.epochs)
  code, fresh, replayed = readings['next']
  assert (code.name, fresh.name) == ('code', 'letters')
  assert replayed.name == 'replay:letters'
  assert replayed.share == pytest.approx(0.25, abs=0.002)
  total = base.epochs + fresh.epochs + replayed.epochs
  assert fresh.epochs_so_far == replayed.epochs_so_far == pytest.approx(total)
  assert code.epochs_so_far == code.epochs


def test_the_table_marks_what_is_read_too_often(readings):
  text = printed(reading_table(readings, ''))
  lines = text.splitlines()
  assert [line.split()[:2] for line in lines if 'replay' in line] == [
    ['replay:letters', '25.0%']
  ]
  marked = [line.split()[0] for line in lines if line.endswith(' !')]
  assert marked == ['base_annealed', 'letters', 'replay:letters']
  assert 'Muennighoff' in text
  assert max(map(len, lines)) <= 80
  few = {'base': readings['base']}
  assert 'Muennighoff' not in printed(reading_table(few, ''))


def test_packed_sources_show_how_full_their_rows_are(run, tmp_path):
  folder = tmp_path / 'stores'
  random = np.random.default_rng(0)
  texts = ['x' * int(n) for n in random.integers(1, 10, 300)]
  losses = [[False] + len(text) * [True] for text in texts]
  tiny_store(folder, 'pairs', texts, losses=losses, whole=True)
  phase = dataclasses.replace(run.phases[0], mixture=Mixture({'pairs': 1.0}))
  corpus = dataclasses.replace(run.corpus, store_dir=str(folder))
  packed = dataclasses.replace(run, phases=(phase,), corpus=corpus)
  found, _ = readings_of(packed, lay_out(packed, tmp_path / 'run'))
  [one] = found['base']
  rows = open_rows(corpus.open('pairs', 'train'), Layout(16), 0, 'pairs')
  used = rows.read(np.arange(rows.rows_per_epoch))['segments'] > 0
  assert one.fill == pytest.approx(used.mean())
  assert f'{one.fill:.1%}' in printed(reading_table(found, ''))


def test_a_phase_that_can_not_be_trained_is_told(run, tmp_path):
  base, annealed, child = run.phases
  mixture = Mixture({'letters': 1.0}, max_epochs=4.0)
  annealed = dataclasses.replace(annealed, mixture=mixture)
  broken = dataclasses.replace(run, phases=(base, annealed, child))
  found, trouble = readings_of(broken, lay_out(broken, tmp_path))
  assert list(found) == ['base']
  assert "phase 'base_annealed'" in trouble and 'letters' in trouble
  assert trouble in ' '.join(printed(reading_table(found, trouble)).split())
