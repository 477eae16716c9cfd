"""Runs as trees of phases: what each begins with, and what it leaves."""

import dataclasses
import gc
import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest

from tests import tiny
from tests.data.helpers import tiny_corpus
from tpu_lm import entry, loop
from tpu_lm.checkpoint import Checkpoints
from tpu_lm.checks import UserError
from tpu_lm.data.mixing import Mixture
from tpu_lm.data.replay import Replay
from tpu_lm.interrupt import Interrupted
from tpu_lm.lineage import Lineage
from tpu_lm.loop import Stopped, train
from tpu_lm.methods.freeze import Freeze
from tpu_lm.methods.l2_to_start import L2ToStart
from tpu_lm.optimizers.adamw import AdamW
from tpu_lm.optimizers.lion import Lion
from tpu_lm.optimizers.sgd import SGD
from tpu_lm.phase import Run
from tpu_lm.profiling import Profile
from tpu_lm.schedules.constant import Constant
from tpu_lm.sharding import Mesh


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """A run folder with a trunk, a branch and a child, and its run."""
  folder = tmp_path_factory.mktemp('loop')
  run = tiny.tree_run(folder / 'stores')
  train(run, folder / 'run', 'the configuration')
  return run, folder / 'run'


def lineage(run_dir, phase):
  path = run_dir / 'phases' / phase / 'lineage.json'
  return Lineage.from_json(json.loads(path.read_text()))


def metrics(run_dir):
  """{(phase, name, step): value}."""
  points = map(json.loads, (run_dir / 'metrics.jsonl').read_text().splitlines())
  return {(p['phase'], p['name'], p['step']): p['value'] for p in points}


def saved_params(run_dir, phase):
  checkpoints = Checkpoints(run_dir / 'phases' / phase / 'checkpoints')
  model = tiny.decoder()
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  target = jax.tree.map(
    lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place), shapes
  )
  return checkpoints.load(checkpoints.steps()[-1], {'params': target})['params']


def stop_after(steps, run, run_dir, limit=None):
  """Trains, and sends SIGTERM to this process when so many steps are done."""
  taken, step = [], loop._Training._step

  def step_and_stop(training):
    step(training)
    taken.append(training.taken)
    if len(taken) == steps:
      os.kill(os.getpid(), signal.SIGTERM)

  loop._Training._step = step_and_stop
  try:
    with pytest.raises(Interrupted, match='the same command goes on'):
      train(run, run_dir, 'the configuration', limit)
  finally:
    loop._Training._step = step


def test_the_tree(finished):
  _, run_dir = finished
  base, branch, child = (
    lineage(run_dir, name) for name in ('base', 'base_annealed', 'next')
  )
  assert (base.kind, branch.kind, child.kind) == ('trunk', 'annealed', 'trunk')
  assert base.parent is None and base.end_step == 12
  for young in (branch, child):
    assert young.parent.phase == 'base' and young.parent.step == 12
    assert young.start_step == 12 and young.end_step == 24
    assert young.start_tokens == base.end_tokens == 12 * 4 * 16
    assert young.entry_ledger == base.ledger
  assert base.learning_rate == pytest.approx(1.65e-3)
  assert branch.learning_rate == pytest.approx(3e-4)
  assert child.learning_rate == pytest.approx(1.65e-3)


def test_the_child_begins_where_its_parent_ended(finished):
  """Its first evaluation is the parent's last, to the bit."""
  _, run_dir = finished
  values = metrics(run_dir)
  for source in ('letters', 'code'):
    name = f'validation/loss/{source}'
    end = values['base', name, 12]
    assert values['next', name, 12] == end
    assert values['base_annealed', name, 12] == end


def test_the_ledger_counts_what_was_read(finished):
  _, run_dir = finished
  child = lineage(run_dir, 'next')
  rows = child.ledger['rows']
  # 7 steps of code and a quarter replay; 5 of code, letters and replay.
  assert rows['replay:letters@16'] == 12
  assert rows['code@16'] == 7 * 3 + 5 * 2
  assert rows['letters@16'] == 12 * 4 + 5
  assert sum(child.ledger['tokens'].values()) == 24 * 4 * 16
  assert child.ledger['seed'] == 0


def test_evaluations_are_dense_after_a_switch(finished):
  _, run_dir = finished
  steps = [
    step
    for phase, name, step in metrics(run_dir)
    if (phase, name) == ('next', 'validation/loss/code')
  ]
  assert steps == [12, 14, 16, 18, 24]


def test_metrics_have_the_promised_keys(finished):
  _, run_dir = finished
  lines = (run_dir / 'metrics.jsonl').read_text().splitlines()
  assert len(lines) > 50
  for line in lines:
    point = json.loads(line)
    assert set(point) == {'step', 'phase', 'name', 'value', 'tokens'}
    assert point['tokens'] == point['step'] * 64
  rates = {
    step: value
    for (phase, name, step), value in metrics(run_dir).items()
    if phase == 'base' and name == 'learning_rate'
  }
  assert max(rates.values()) <= 3e-3 and rates[12] == pytest.approx(1.65e-3)


def test_the_run_explains_itself(finished):
  run, run_dir = finished
  assert (run_dir / 'config.gin').read_text() == 'the configuration'
  table = (run_dir / 'parameters.txt').read_text()
  assert 'layers=2, embed=32, heads=4, head_dim=8' in table
  facts = json.loads((run_dir / 'run.json').read_text())
  assert f'{facts["parameters"]:,}' in table.splitlines()[-1]
  boards = list(run_dir.glob('tensorboard/*/events.out.tfevents.*'))
  assert {board.parent.name for board in boards} == {p.name for p in run.phases}
  record = Checkpoints(run_dir / 'phases/next/checkpoints').record(24)
  assert record['config'] == 'the configuration'


def test_tensorboard_reads_what_was_written(finished):
  from tensorboard.backend.event_processing import event_file_loader

  _, run_dir = finished
  [path] = run_dir.glob('tensorboard/base/events*')
  tags = set()
  for event in event_file_loader.RawEventFileLoader(str(path)).Load():
    if b'validation/loss/code' in event:
      tags.add('validation')
    if b'tokens_per_second' in event:
      tags.add('speed')
  assert tags == {'validation', 'speed'}


def test_only_the_newest_checkpoints_are_kept(finished):
  _, run_dir = finished
  assert Checkpoints(run_dir / 'phases/base/checkpoints').steps() == [10, 12]


def test_done_is_done(finished):
  run, run_dir = finished
  before = (run_dir / 'metrics.jsonl').read_bytes()
  train(run, run_dir)
  assert (run_dir / 'metrics.jsonl').read_bytes() == before


def test_another_definition_of_a_phase_is_refused(finished):
  run, run_dir = finished
  other = dataclasses.replace(run.phases[2], batch_size=8)
  changed = dataclasses.replace(run, phases=(*run.phases[:2], other))
  before = sorted(run_dir.rglob('*'))
  with pytest.raises(UserError, match=r'Phase\.batch_size: was 4, is now 8'):
    train(changed, run_dir)
  assert sorted(run_dir.rglob('*')) == before


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'seed': 1}, r'Run\.seed: was 0, is now 1'),
    ({'model': tiny.decoder(layers=3)}, r'Decoder\.layers: was 2, is now 3'),
  ],
)
def test_the_folder_of_another_run_is_refused(finished, change, message):
  run, run_dir = finished
  with pytest.raises(UserError, match=message):
    train(dataclasses.replace(run, **change), run_dir)


def test_a_folder_with_something_else_is_refused(tmp_path):
  (tmp_path / 'photo.jpg').write_text('')
  with pytest.raises(UserError, match='is not empty, and holds no run'):
    train(tiny.tree_run(tmp_path / 'stores'), tmp_path)


def test_a_phase_of_another_run_can_be_continued(finished, tmp_path):
  run, run_dir = finished
  parent = str(run_dir / 'phases' / 'base')
  alone = dataclasses.replace(run.phases[1], parent=parent)
  other = dataclasses.replace(run, phases=(alone,))
  train(other, tmp_path / 'other')
  inside, outside = (
    lineage(folder, 'base_annealed') for folder in (run_dir, tmp_path / 'other')
  )
  assert outside.parent.path == parent
  assert outside.ledger == inside.ledger
  jax.tree.map(
    np.testing.assert_array_equal,
    saved_params(run_dir, 'base_annealed'),
    saved_params(tmp_path / 'other', 'base_annealed'),
  )


def test_a_branch_can_join_the_folder_of_its_trunk(tmp_path):
  """By a configuration that names the new phase alone; nothing is lost."""
  run = tiny.tree_run(tmp_path / 'stores')
  trunk = dataclasses.replace(run, phases=run.phases[:1])
  train(trunk, tmp_path / 'run')
  before = (tmp_path / 'run' / 'metrics.jsonl').read_bytes()
  parent = str(tmp_path / 'run' / 'phases' / 'base')
  branch = dataclasses.replace(run.phases[1], parent=parent)
  train(dataclasses.replace(run, phases=(branch,)), tmp_path / 'run')
  after = (tmp_path / 'run' / 'metrics.jsonl').read_bytes()
  assert after.startswith(before) and len(after) > len(before)
  train(trunk, tmp_path / 'run')  # and the trunk's own file still works
  assert (tmp_path / 'run' / 'metrics.jsonl').read_bytes() == after


def test_two_branches_take_turns_in_a_folder(tmp_path):
  """Each stopped and resumed by a file that lists it alone beside the trunk."""
  run = tiny.tree_run(tmp_path / 'stores')
  folder = tmp_path / 'run'
  both = dataclasses.replace(
    run.phases[0].evaluate, sources=('letters', 'code')
  )
  phases = [dataclasses.replace(p, evaluate=both) for p in run.phases]
  run = dataclasses.replace(run, phases=phases)
  train(run, tmp_path / 'whole')
  first = dataclasses.replace(run, phases=run.phases[:2])
  second = dataclasses.replace(run, phases=(run.phases[0], run.phases[2]))
  stop_after(14, first, folder)  # two steps into the first branch
  train(second, folder)
  train(first, folder)
  assert metrics(folder) == metrics(tmp_path / 'whole')
  lines = (folder / 'metrics.jsonl').read_text().splitlines()
  assert len(lines) == len(set(lines)) == len(metrics(folder))


def test_sources_of_an_outside_parent_are_evaluated(finished, tmp_path):
  run, run_dir = finished
  child = dataclasses.replace(
    run.phases[2],
    parent=str(run_dir / 'phases/base'),
    mixture=Mixture(weights={'code': 1.0}),
  )
  train(dataclasses.replace(run, phases=(child,)), tmp_path / 'child')
  assert ('next', 'validation/loss/letters', 12) in metrics(tmp_path / 'child')


@pytest.mark.parametrize('policy', ['reset', 'rewarm_second_moment'])
def test_optimizer_state_policies_differ(finished, tmp_path, policy):
  run, run_dir = finished
  parent = str(run_dir / 'phases' / 'base')
  child = dataclasses.replace(
    run.phases[1],
    parent=parent,
    optimizer_state=policy,
    methods=(L2ToStart(strength=1e-3),),
  )
  train(dataclasses.replace(run, phases=(child,)), tmp_path / policy)
  kept = saved_params(run_dir, 'base_annealed')['embedding']['table']
  other = saved_params(tmp_path / policy, 'base_annealed')['embedding']['table']
  assert np.all(np.isfinite(other)) and not np.array_equal(kept, other)


def test_keeping_the_state_of_another_optimizer_is_refused(finished, tmp_path):
  run, run_dir = finished
  child = dataclasses.replace(
    run.phases[1], parent=str(run_dir / 'phases/base'), optimizer=SGD()
  )
  with pytest.raises(
    UserError, match=r'optimizer is not what|holds no .optimizer'
  ):
    train(dataclasses.replace(run, phases=(child,)), tmp_path / 'sgd')


def test_a_loss_that_is_not_finite_stops_and_saves_nothing(tmp_path):
  run = tiny.tree_run(tmp_path / 'stores')
  base = dataclasses.replace(
    run.phases[0], schedule=Constant(rate=1e30), save_every=2
  )
  with pytest.raises(Stopped, match=r'at step \d+ of phase .base.'):
    train(dataclasses.replace(run, phases=(base,)), tmp_path / 'run')
  checkpoints = Checkpoints(tmp_path / 'run/phases/base/checkpoints')
  for step in checkpoints.steps():  # what was saved before is whole
    assert np.all(
      np.isfinite(saved_params(tmp_path / 'run', 'base')['embedding']['table'])
    ), step


def test_what_kills_left_of_a_phase_that_is_done_goes(finished, tmp_path):
  run, run_dir = finished
  folder = tmp_path / 'run'
  shutil.copytree(run_dir, folder)
  saves = folder / 'phases/base/checkpoints'
  shutil.copytree(saves / '12', saves / '.deleting-5')
  shutil.copytree(saves / '12', saves / '5')  # killed before it was pruned
  train(run, folder, 'the configuration')
  assert sorted(path.name for path in saves.iterdir()) == ['10', '12']


def test_a_phase_leaves_nothing_in_memory(tmp_path, monkeypatch):
  held, make = [], entry.make_state

  def make_and_count(*arguments):
    held.append(sum(array.nbytes for array in jax.live_arrays()))
    return make(*arguments)

  monkeypatch.setattr(entry, 'make_state', make_and_count)
  before = sum(array.nbytes for array in jax.live_arrays())
  gc.disable()
  try:
    train(tiny.tree_run(tmp_path / 'stores'), tmp_path / 'run')
  finally:
    gc.enable()
  assert len(held) == 3
  assert max(held) - before < 50_000  # a state has 330 kB


def test_it_stops_after_so_many_steps_and_on_signals_before(tmp_path):
  run = tiny.tree_run(tmp_path / 'stores')
  folder = tmp_path / 'run'
  checkpoints = Checkpoints(folder / 'phases/base/checkpoints')
  with pytest.raises(Interrupted, match='stopped at step 3'):
    train(run, folder, 'the configuration', stop_after=3)
  assert checkpoints.steps() == [3]
  stop_after(2, run, folder, limit=5)
  assert checkpoints.steps()[-1] == 5
  with pytest.raises(Interrupted, match=r'stopped at step 12 of phase .base.'):
    train(run, folder, 'the configuration', stop_after=7)
  assert not (folder / 'phases/base_annealed').exists()


def test_a_signal_saves_and_the_run_goes_on(tmp_path, finished):
  run, run_dir = finished
  folder = tmp_path / 'interrupted'
  stop_after(8, run, folder)
  assert Checkpoints(folder / 'phases/base/checkpoints').steps()[-1] == 8
  train(run, folder, 'the configuration')
  assert (folder / 'metrics.jsonl').read_bytes() == (
    run_dir / 'metrics.jsonl'
  ).read_bytes()


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'mesh': Mesh(data=3)}, 'does not cover'),
    ({'model': tiny.decoder(vocabulary=100)}, '259 token ids'),
  ],
)
def test_mistakes_leave_the_disk_alone(tmp_path, change, message):
  run = tiny.tree_run(tmp_path / 'stores', **change)
  with pytest.raises(UserError, match=message):
    train(run, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_unknown_sources_and_small_ones(tmp_path):
  run = tiny.tree_run(tmp_path / 'stores')
  phase = dataclasses.replace(
    run.phases[0], mixture=Mixture(weights={'leters': 1.0})
  )
  with pytest.raises(UserError, match='leters'):
    train(dataclasses.replace(run, phases=(phase,)), tmp_path / 'run')
  corpus = tiny_corpus(tmp_path / 'small', {'letters': ['']})
  phases = (dataclasses.replace(run.phases[0]),)
  small = dataclasses.replace(run, phases=phases, corpus=corpus)
  with pytest.raises(UserError, match='nothing to predict'):
    train(small, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (
      {
        'mixture': Mixture(weights={'code': 1}, replay=Replay(0.5, phase='bas'))
      },
      r"Replay\.phase = 'bas'.* Did you mean: base",
    ),
    (
      {'optimizer': AdamW(multipliers={'embeding': 0.5})},
      r'AdamW\.multipliers.*embeding',
    ),
    ({'methods': (Freeze(paths=('embeding',)),)}, r'Freeze\.paths.*embeding'),
    ({'sequence_length': 8}, r'Phase\.sequence_length = 8 .*read at \[16\]'),
    ({'optimizer': Lion()}, r"optimizer_state = 'keep'.*Use 'reset'"),
  ],
)
def test_a_late_phase_is_checked_early(tmp_path, change, message):
  run = tiny.tree_run(tmp_path / 'stores')
  child = dataclasses.replace(run.phases[2], **change)
  with pytest.raises(UserError, match=message):
    train(
      dataclasses.replace(run, phases=(*run.phases[:2], child)),
      tmp_path / 'run',
    )
  assert not (tmp_path / 'run').exists()


def test_phases_must_form_a_tree(tmp_path):
  run = tiny.tree_run(tmp_path / 'stores')
  with pytest.raises(UserError, match='no parent to replay from'):
    dataclasses.replace(run.phases[2], parent=None)
  orphans = dataclasses.replace(run, phases=run.phases[1:])
  with pytest.raises(UserError, match=r"'base'.*earlier phase"):
    train(orphans, tmp_path / 'run')
  bare = dataclasses.replace(run.phases[1], parent='bas')
  misspelt = dataclasses.replace(run, phases=(run.phases[0], bare))
  with pytest.raises(UserError, match='Did you mean: base'):
    train(misspelt, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()
  with pytest.raises(UserError, match='two phases'):
    dataclasses.replace(run, phases=(*run.phases, run.phases[0]))
  assert isinstance(run, Run)


def test_documents_are_masked_where_a_phase_says_so(tmp_path):
  """In training and in evaluation: short documents share every row."""
  found = {}
  for mask in (True, False):
    run = tiny.tree_run(tmp_path / 'stores', steps=8)
    phase = dataclasses.replace(run.phases[0], mask_documents=mask)
    run = dataclasses.replace(run, phases=(phase,), log_every=1)
    train(run, tmp_path / f'run_{mask}')
    lines = (tmp_path / f'run_{mask}' / 'metrics.jsonl').read_text()
    records = [json.loads(line) for line in lines.splitlines()]
    for name, step in [
      ('train/loss', 8),
      ('validation/loss/letters', 0),
    ]:
      [value] = [
        r['value'] for r in records if (r['name'], r['step']) == (name, step)
      ]
      found.setdefault(name, []).append(value)
  for name, (masked, together) in found.items():
    assert masked != together, name


def test_a_window_of_steps_is_profiled(tmp_path):
  run = tiny.tree_run(tmp_path / 'stores')
  profile = Profile(phase='base', first=3, steps=2)
  run = dataclasses.replace(run, phases=run.phases[:1], profile=profile)
  train(run, tmp_path / 'run')
  traces = [*(tmp_path / 'run' / 'profile' / 'base').rglob('*.xplane.pb')]
  assert len(traces) == 1 and traces[0].stat().st_size > 0
  undisturbed = dataclasses.replace(run, profile=None)
  train(undisturbed, tmp_path / 'undisturbed')
  ours, theirs = (
    (tmp_path / name / 'metrics.jsonl').read_bytes()
    for name in ('run', 'undisturbed')
  )
  assert ours == theirs


@pytest.mark.parametrize(
  ('profile', 'message'),
  [
    (Profile(phase='bas'), "Profile.phase = 'bas'.*Did you mean: base"),
    (Profile(phase='base', first=999), r'Profile\.first = 999'),
    (7, r'Run\.profile = 7'),
  ],
)
def test_a_window_that_never_comes_is_told(tmp_path, profile, message):
  run = tiny.tree_run(tmp_path)
  with pytest.raises(UserError, match=message):
    run = dataclasses.replace(run, profile=profile)
    train(run, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_timings_say_how_much_was_steps(finished):
  _, run_dir = finished
  lines = (run_dir / 'timings.jsonl').read_text().splitlines()
  found = {}
  for point in map(json.loads, lines):
    found.setdefault(point['name'], []).append(point['value'])
  assert 0 < max(found['goodput']) <= 1
  ratio = np.array(found['model_flops_per_second']) / np.array(
    found['tokens_per_second']
  )
  np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)
