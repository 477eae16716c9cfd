"""The paragraph says what the numbers say, and changes with them."""

import pytest

from tpu_lm.report.measures import find_arms
from tpu_lm.report.paragraph import paragraph
from tpu_lm.report.record import read_run


def say(folder):
  record = read_run(folder.path)
  return paragraph(record, find_arms(record))


def two_arms(run_folder, plain, replay, **facts):
  """Two arms from one base; (prose, python) at the end of each."""
  folder = run_folder(**facts)
  folder.phase('base', prose=[5.0, 2.0], python=[5.0, 4.0])
  for name, (prose, python) in (('plain', plain), ('replay', replay)):
    folder.phase(
      f'next_{name}',
      'base',
      sources=('python',),
      replay={'prose': 0.25} if name == 'replay' else None,
      prose=[2.0, prose + 0.5, prose],
      python=[4.0, python],
    )
  return folder


def test_the_better_arm_is_named(run_folder):
  text = say(two_arms(run_folder, (3.0, 1.5), (2.25, 1.75)))
  assert 'each arm read prose, then python.' in text
  assert 'replay ended lowest, at 2.000 nats a token; plain 0.250' in text
  assert '0.250 nats above the loss after its own stage in replay' in text
  assert '1.000 nats above it in plain, which forgot most' in text
  assert 'Every arm with replay forgot less than every arm without' in text
  assert 'was 1.500 nats, of plain on prose, 50 steps into next_plain' in text
  assert 'In replay no rise was higher than 0.750.' in text


def test_swapped_numbers_swap_the_sentences(run_folder):
  text = say(two_arms(run_folder, (2.25, 1.75), (3.0, 1.5)))
  assert 'plain ended lowest, at 2.000 nats a token; replay 0.250' in text
  assert 'in plain, which forgot least' in text
  assert 'Every arm with replay forgot more than every arm without' in text
  assert 'nats, of replay on prose' in text


def test_small_differences_are_about_equal(run_folder):
  text = say(two_arms(run_folder, (2.5, 1.5), (2.505, 1.503)))
  assert 'all arms ended about equal, at 2.000 to 2.004 nats a token' in text
  assert 'in all arms alike' in text
  assert 'Replay did not part the arms' in text
  assert 'lowest' not in text


def test_the_seed_is_named(run_folder):
  folder = two_arms(run_folder, (3.0, 1.5), (2.25, 1.75), seed=7)
  assert 'a single seed (7)' in say(folder)


def test_one_phase(run_folder):
  folder = run_folder(parameters=1_020_000).phase('base', prose=[5.5, 2.0])
  assert say(folder) == (
    'This run trained a model of 1.02M parameters for 100 steps of base; it '
    'read prose. From the start, the loss on prose fell from 5.500 to 2.000 '
    'nats. This is a single seed (0): another one would give other numbers.'
  )


@pytest.mark.parametrize(
  ('after', 'words'),
  [
    ([2.0, 2.5, 2.25], 'on prose was 0.250 nats above the loss after its own'),
    ([2.0, 1.9, 1.75], 'on prose was 0.250 nats below the loss after its own'),
    ([2.0, 2.0, 2.005], 'on prose was about equal to the loss after its own'),
    ([2.0, 2.5, 1.75], 'the loss was back after 100 steps'),
    ([2.0, 1.9, 1.75], 'No switch raised the loss on a known source by more'),
  ],
)
def test_one_arm(run_folder, after, words):
  folder = run_folder().phase('base', prose=[5.5, 2.0], python=[5.5, 4.0])
  folder.phase(
    'next', 'base', sources=('python',), prose=after, python=[4.0, 1.5]
  )
  assert words in say(folder)


def test_many_sources_are_not_listed_one_by_one(run_folder):
  names = [f'language{i:02}' for i in range(20)]
  folder = run_folder()
  parent = None
  for name in names:
    losses = {source: [3.0, 2.0] for source in names}
    folder.phase(f'on_{name}', parent, sources=(name,), **losses)
    parent = f'on_{name}'
  text = say(folder)
  assert 'language00 first and language19 last, in 20 stages' in text
  assert len(text) < 900


def test_arms_on_different_data_are_not_ranked(run_folder):
  folder = run_folder().phase('base', prose=[5.0, 2.0], python=[5.0, 4.0])
  folder.phase('more', 'base', prose=[2.0, 1.5], python=[4.0, 4.0])
  folder.phase('code', 'base', sources=('python',), python=[4.0, 1.5])
  text = say(folder)
  assert 'The arms read different sources: their averages' in text
  assert 'lowest' not in text


def test_what_still_runs_is_named(run_folder):
  folder = run_folder().phase('base', prose=[5.0, 2.0])
  folder.phase('next', 'base', status='running', prose=[2.0, 1.9])
  assert '1 phase has not ended yet (next)' in say(folder)


def test_a_parent_elsewhere_is_named(run_folder):
  outside = {
    'end_step': 300,
    'ledger': {'tokens': {'prose': 30000}},
    'parent': {'phase': 'base', 'step': 300, 'path': '/runs/x/phases/base'},
  }
  folder = run_folder().phase('more', outside=outside, prose=[2.0, 1.5])
  assert 'starting from base at step 300 of another run' in say(folder)


def test_without_any_evaluation_nothing_is_claimed(run_folder):
  text = say(run_folder().phase('base'))
  assert 'nats' not in text


def test_a_change_of_the_objective_is_told(run_folder):
  spans, prefix = {'class': 'SpanCorruption'}, {'class': 'Prefix'}
  folder = run_folder()
  folder.phase('one', prose=[5.0, 2.0], python=[5.0, 4.0], noise=spans)
  folder.phase('two', 'one', prose=[3.5, 3.0], python=[4.5, 4.0], noise=prefix)
  text = say(folder)
  assert 'The objective changed with two' in text
  assert 'from 2.000' not in text  # under the other objective
  same = run_folder()
  same.phase('one', prose=[5.0, 2.0], noise=spans)
  same.phase('two', 'one', prose=[2.0, 1.5], noise=spans)
  assert 'objective changed' not in say(same)
