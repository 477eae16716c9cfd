"""Numbers worked out by hand, from run folders written by hand."""

import math

import pytest

from tpu_lm.checks import UserError
from tpu_lm.report.measures import find_arms
from tpu_lm.report.record import read_run


def read(folder):
  record = read_run(folder.path)
  return record, find_arms(record)


def three_stages(run_folder):
  """prose, then python, then headers; every loss on a grid of quarters."""
  folder = run_folder()
  folder.phase('one', prose=[5.0, 2.0], python=[5.0, 4.0], headers=[5.0, 4.5])
  folder.phase(
    'two',
    'one',
    sources=('python',),
    prose=[2.0, 3.0, 2.5],
    python=[4.0, 3.0, 1.5],
    headers=[4.5, 4.25, 4.0],
  )
  folder.phase(
    'three',
    'two',
    sources=('headers',),
    prose=[2.5, 2.75, 2.25],
    python=[1.5, 2.0, 1.75],
    headers=[4.0, 2.0, 1.0],
  )
  return folder


def test_the_matrix_of_one_arm(run_folder):
  _, (arm,) = read(three_stages(run_folder))
  assert arm.rows == ('one', 'two', 'three')
  assert [tuple(row.values()) for row in arm.losses] == [
    (2.0, 4.0, 4.5),
    (2.5, 1.5, 4.0),
    (2.25, 1.75, 1.0),
  ]
  assert arm.own == {'prose': 0, 'python': 1, 'headers': 2}


def test_forgetting_and_transfer(run_folder):
  _, (arm,) = read(three_stages(run_folder))
  assert arm.forgetting == {'prose': 0.25, 'python': 0.25}
  assert arm.backward == -0.25
  assert arm.forward == 0.5  # headers, before its stage: 4.5 to 4.0
  assert arm.average == pytest.approx((2.25 + 1.75 + 1.0) / 3)


def test_forgetting_is_measured_under_one_noise(run_folder):
  spans, prefix = {'class': 'SpanCorruption'}, {'class': 'Prefix'}
  folder = run_folder()
  folder.phase('one', prose=[5.0, 2.0], python=[5.0, 4.0], noise=spans)
  folder.phase(
    'two',
    'one',
    sources=('python',),
    prose=[2.0, 2.25],
    python=[4.0, 1.0],
    noise=spans,
  )
  folder.phase(
    'three',
    'two',
    sources=('python',),
    prose=[3.5, 3.75],
    python=[3.0, 2.5],
    noise={'python': spans, 'prose': prefix},
  )
  _, (arm,) = read(folder)
  # prose from the entry of the third stage, python from its own second.
  assert arm.forgetting == {'prose': 0.25, 'python': 1.5}


def test_a_branch_with_other_noise_than_its_trunk_has_no_baseline(run_folder):
  spans, prefix = {'class': 'SpanCorruption'}, {'class': 'Prefix'}
  folder = run_folder()
  folder.phase('one', prose=[5.0, 2.0], noise=spans, kind='trunk')
  python = {'sources': ('python',), 'python': [4.0, 1.0]}
  folder.phase(
    'two', 'one', prose=[2.0, 2.25], noise=spans, kind='trunk', **python
  )
  folder.phase('short', 'two', prose=[3.9, 3.6], noise=prefix, **python)
  _, (arm,) = read(folder)
  assert arm.ships[-1].name == 'short'
  assert arm.forgetting == {}


def test_a_source_read_twice_belongs_to_its_last_introduction(run_folder):
  folder = run_folder()
  folder.phase('one', prose=[5.0, 2.0], python=[5.0, 4.0])
  folder.phase(
    'two', 'one', sources=('python',), prose=[2.0, 3.0], python=[4.0, 1.5]
  )
  folder.phase('three', 'two', prose=[3.0, 1.75], python=[1.5, 2.0])
  _, (arm,) = read(folder)
  assert arm.own == {'prose': 2, 'python': 1}
  assert arm.forgetting == {'python': 0.5}
  assert arm.forward == -1.0  # prose before its last stage: 2.0 to 3.0


def test_stability_gaps(run_folder):
  folder = run_folder()
  folder.phase('one', prose=[5.0, 2.0])
  folder.phase('back', 'one', sources=('python',), prose=[2, 2.5, 2.25, 2, 1])
  folder.phase('gone', 'one', sources=('python',), prose=[2, 2.25, 2.5])
  folder.phase('calm', 'one', sources=('python',), prose=[2, 1.75, 1.5])
  _, arms = read(folder)
  back, gone, calm = (arm.gaps[0] for arm in arms)
  assert (back.baseline, back.peak) == (2.0, 0.5)
  assert (back.peak_after, back.back_after) == (25, 75)
  assert (gone.peak, gone.peak_after, gone.back_after) == (0.5, 100, None)
  assert (calm.peak, calm.peak_after, calm.back_after) == (0.0, 0, 0)


def test_only_what_was_read_has_a_gap(run_folder):
  _, (arm,) = read(three_stages(run_folder))
  found = [(gap.phase, gap.source, gap.peak) for gap in arm.gaps]
  assert found == [
    ('two', 'prose', 1.0),
    ('three', 'prose', 0.25),
    ('three', 'python', 0.5),
  ]
  assert arm.largest_gap.phase == 'two'


def test_a_trunk_ships_its_annealed_branch(run_folder):
  folder = run_folder()
  folder.phase('trunk_a', kind='trunk', prose=[5.0, 2.0], python=[5.0, 4.0])
  folder.phase('ship_a', 'trunk_a', 20, prose=[2.0, 1.5], python=[4.0, 3.75])
  folder.phase(
    'trunk_b',
    'trunk_a',
    kind='trunk',
    sources=('python',),
    prose=[2.0, 3.0],
    python=[4.0, 2.0],
  )
  folder.phase(
    'ship_b',
    'trunk_b',
    20,
    sources=('python',),
    prose=[3.0, 2.75],
    python=[2.0, 1.75],
  )
  _, (arm,) = read(folder)
  assert [phase.name for phase in arm.phases] == ['trunk_a', 'trunk_b']
  assert arm.rows == ('ship_a', 'ship_b')
  assert arm.forgetting == {'prose': 2.75 - 1.5}


def test_an_annealed_child_on_other_data_is_no_shipping_branch(run_folder):
  folder = run_folder()
  folder.phase('trunk', kind='trunk', prose=[5.0, 2.0])
  folder.phase('next', 'trunk', sources=('python',), prose=[2.0, 3.0])
  _, (arm,) = read(folder)
  assert arm.rows == ('trunk', 'next')


def test_arms_share_phases_and_drop_common_words(run_folder):
  folder = run_folder()
  folder.phase('base', prose=[5.0, 2.0])
  for name, last in (('end_plain', 3.0), ('end_replay', 2.25)):
    replay = {'prose': 0.25} if 'replay' in name else None
    folder.phase(
      name, 'base', sources=('python',), replay=replay, prose=[2.0, last]
    )
  record, (plain, replayed) = read(folder)
  assert (plain.name, replayed.name) == ('plain', 'replay')
  assert plain.phases[0] is replayed.phases[0]
  assert (plain.replayed, replayed.replayed) == (False, True)
  assert record.phases['end_replay'].read == {
    'python': 7500,
    'replay:prose': 2500,
  }


def test_numbered_arms_keep_a_word(run_folder):
  folder = run_folder()
  for i in range(2):
    folder.phase(f'seed_{i}', prose=[5.0, 2.0])
  _, arms = read(folder)
  assert [arm.name for arm in arms] == ['seed_0', 'seed_1']


def test_a_parent_outside_the_folder_is_the_base(run_folder):
  outside = {
    'end_step': 300,
    'ledger': {'tokens': {'prose': 30000}},
    'parent': {'phase': 'base', 'step': 300, 'path': '/runs/x/phases/base'},
  }
  folder = run_folder()
  folder.phase(
    'more',
    outside=outside,
    sources=('python',),
    prose=[2.0, 2.5, 2.25],
    python=[4.0, 1.5],
  )
  _, (arm,) = read(folder)
  assert arm.rows == ('base at step 300', 'more')
  assert arm.forgetting == {'prose': 0.25}
  assert arm.gaps[0].peak == 0.5


def test_a_running_phase_counts_as_far_as_it_got(run_folder):
  folder = run_folder()
  folder.phase('one', prose=[5.0, 2.0])
  folder.phase('two', 'one', 50, status='running', prose=[2.0, 2.5])
  record, (arm,) = read(folder)
  assert not arm.done
  assert (record.phases['two'].steps, arm.final['prose']) == (50, 2.5)


def test_values_that_are_not_finite_are_left_out_with_a_note(run_folder):
  folder = run_folder()
  folder.phase('one', prose=[5.0, math.nan, 2.0])
  folder.phase('two', 'one', prose=[2.0, math.inf])
  record, (arm,) = read(folder)
  assert arm.losses[0]['prose'] == 2.0
  assert arm.final['prose'] is None
  assert arm.average is None
  assert len([n for n in record.notes if 'not finite at 1 of' in n]) == 2


def test_half_a_line_at_the_end_is_left_out_with_a_note(run_folder):
  folder = run_folder().phase('one', prose=[5.0, 2.0])
  with (folder.path / 'metrics.jsonl').open('a') as file:
    file.write('{"step": 120, "phase": "o')
  record, (arm,) = read(folder)
  assert arm.final['prose'] == 2.0
  assert any('unreadable' in note for note in record.notes)


def test_a_folder_without_phases_is_a_persons_mistake(tmp_path):
  with pytest.raises(UserError, match='not a run folder'):
    read_run(tmp_path)
