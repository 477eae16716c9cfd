"""Runs of other models than decoders, mixed objectives, and warm starts."""

import dataclasses
import json
import os
import signal

import jax
import numpy as np
import pytest

from tests import tiny
from tests.data.helpers import tiny_store
from tpu_lm import entry, loop, prepare
from tpu_lm.blocks.positions import Learned
from tpu_lm.checkpoint import Checkpoints
from tpu_lm.checks import UserError
from tpu_lm.data.mixing import Mixture
from tpu_lm.data.noise.code_switch import CodeSwitch
from tpu_lm.data.noise.mixed import Mixed, Part
from tpu_lm.data.noise.prefix import Prefix
from tpu_lm.data.noise.span_corruption import SpanCorruption
from tpu_lm.data.vocabularies.bytes import Bytes
from tpu_lm.evals.translation import Translation
from tpu_lm.interrupt import Interrupted
from tpu_lm.loop import train
from tpu_lm.phase import Evaluate, Phase
from tpu_lm.schedules.constant import Constant
from tpu_lm.stages import lay_out
from tpu_lm.survey.reading import readings_of
from tpu_lm.tree import named_paths
from tpu_lm.warm_start import WarmStart

BOTH = {'letters': 1.0, 'code': 1.0}
ENCODER_DECODER = tiny.encoder_decoder(vocabulary=400, dropout=0.1)


def phase(name, noise=None, **changes):
  fields = {
    'name': name,
    'mixture': Mixture(weights=BOTH, noise=noise),
    'schedule': Constant(rate=1e-3),
    'length': 4,
    'batch_size': 4,
    'sequence_length': 24,
    'evaluate': Evaluate(every=4, dense_every=4, rows=8),
  }
  return Phase(**(fields | changes))


def run_of(folder, model, *phases):
  run = tiny.tree_run(folder / 'stores', log_every=1)
  return dataclasses.replace(run, model=model, phases=phases)


def metrics(run_dir):
  lines = (run_dir / 'metrics.jsonl').read_text().splitlines()
  return {(p['phase'], p['step'], p['name']): p for p in map(json.loads, lines)}


@pytest.fixture(scope='module')
def mixed(tmp_path_factory):
  """Span corruption and prefixes in one batch, then prefixes alone."""
  folder = tmp_path_factory.mktemp('mixed')
  parts = Mixed((Part(SpanCorruption()), Part(Prefix(), mode='mode_s')))
  run = run_of(
    folder,
    ENCODER_DECODER,
    phase('both', {'letters': SpanCorruption(), 'code': parts}),
    phase('adapted', Prefix(), parent='both', optimizer_state='reset'),
  )
  train(run, folder / 'run')
  return run, folder / 'run'


def test_the_loss_is_told_by_source_and_by_objective(mixed):
  found = metrics(mixed[1])
  for step in (1, 4):
    for kind in ('loss/letters', 'loss/code', 'objective/span_corruption'):
      assert 0 < found['both', step, f'train/{kind}']['value'] < 10, kind
  assert ('both', 0, 'validation/objective/prefix') in found
  assert ('both', 0, 'validation/loss/letters') in found
  # With one objective there is nothing to tell apart.
  names = {name for stage, _, name in found if stage == 'adapted'}
  assert not any('objective' in name for name in names)
  before = found['both', 4, 'validation/loss/letters']['value']
  entry_loss = found['adapted', 4, 'validation/loss/letters']['value']
  assert before != entry_loss  # measured under its own noise


def test_a_stop_changes_nothing_under_noise_and_dropout(
  mixed, tmp_path, monkeypatch
):
  run, run_dir = mixed
  one = run_of(tmp_path, run.model, run.phases[0])
  step = loop._Training._step

  def step_and_stop(training):
    step(training)
    if training.taken == 2:
      os.kill(os.getpid(), signal.SIGTERM)

  monkeypatch.setattr(loop._Training, '_step', step_and_stop)
  with pytest.raises(Interrupted):
    train(one, tmp_path / 'run')
  monkeypatch.undo()
  train(one, tmp_path / 'run')
  again = metrics(tmp_path / 'run')
  undisturbed = {k: v for k, v in metrics(run_dir).items() if k[0] == 'both'}
  assert again == undisturbed


def test_the_survey_counts_rows_of_noised_text(mixed):
  run, run_dir = mixed
  readings, trouble = readings_of(run, lay_out(run, run_dir))
  assert not trouble
  assert [one.name for one in readings['both']] == ['code', 'letters']
  assert all(one.rows == 8 for one in readings['both'])
  assert all(0.3 < one.fill <= 1 for one in readings['both'])


@pytest.fixture(scope='module')
def encoder_run(tmp_path_factory):
  folder = tmp_path_factory.mktemp('encoder')
  model = tiny.encoder(vocabulary=400, layers=3)
  run = run_of(folder, model, phase('masked'))
  train(run, folder / 'run')
  return folder / 'run' / 'phases' / 'masked'


def warm(folder, parents, take, **changes):
  fields = {'parent': str(parents), 'optimizer_state': 'reset'}
  child = phase('warm', warm_start=WarmStart(take), **(fields | changes))
  return run_of(folder, ENCODER_DECODER, child)


TAKE = {'encoder': '', 'embedding': 'embedding'}


def test_an_encoder_becomes_half_of_an_encoder_decoder(
  encoder_run, tmp_path, capsys
):
  run = warm(tmp_path, encoder_run, TAKE)
  [stage] = prepare.prepare(run, tmp_path / 'run')
  told = capsys.readouterr().err
  assert 'parameters come from' in told
  assert 'decoder/layers/cross_attention/query' in told
  mesh = run.mesh.make()
  with jax.set_mesh(mesh):
    optimizer = stage.phase.optimizer.make(run.model.axes())
    state, _ = entry.make_state(run, stage, mesh, optimizer)
  params = named_paths(state.params)
  checkpoints = Checkpoints(encoder_run / 'checkpoints')
  shapes = checkpoints.shapes(4, 'params')
  theirs = named_paths(checkpoints.load(4, {'params': shapes})['params'])
  fresh = named_paths(run.model.init(jax.random.key(run.seed)))
  for name, value in params.items():
    source = name.removeprefix('encoder/')
    taken = name.startswith('encoder/') or name == 'embedding/table'
    want = theirs[source] if taken else fresh[name]
    np.testing.assert_array_equal(value, want, err_msg=name)
  assert state.step == 4
  train(run, tmp_path / 'run')
  train(run, tmp_path / 'run')  # done: nothing to warm-start again
  found = metrics(tmp_path / 'run')
  assert ('warm', 8, 'validation/loss/letters') in found


@pytest.mark.parametrize(
  ('take', 'changes', 'message'),
  [
    (TAKE, {'optimizer_state': 'keep'}, "must be 'reset' with a warm start"),
    (TAKE, {'parent': None}, 'there is no parent'),
    ({'encodr': ''}, {}, r'nothing under .encodr.*'),
    ({'decoder/positions': 'layers'}, {}, 'nothing under'),
    (
      {'decoder/final_norm/scale': 'embedding/table'},
      {},
      r'\(32,\) here, and embedding/table is \(400, 32\) in the parent',
    ),
  ],
)
def test_bad_warm_starts_are_told(
  encoder_run, tmp_path, take, changes, message
):
  run = warm(tmp_path, encoder_run, take, **changes)
  with pytest.raises(UserError, match=message):
    prepare.prepare(run, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_a_parent_in_the_same_run_needs_no_warm_start(tmp_path):
  child = phase(
    'two', parent='one', optimizer_state='reset', warm_start=WarmStart(TAKE)
  )
  run = run_of(tmp_path, ENCODER_DECODER, phase('one'), child)
  with pytest.raises(UserError, match='here it is the same'):
    prepare.prepare(run, tmp_path / 'run')


@pytest.mark.parametrize('take', [{}, {'a': 1}, 'encoder'])
def test_a_warm_start_takes_something(take):
  with pytest.raises(UserError, match=r'WarmStart\.take'):
    WarmStart(take)


def test_a_vocabulary_without_room_for_sentinels_is_told(tmp_path):
  run = run_of(tmp_path, tiny.encoder_decoder(), phase('base'))
  with pytest.raises(
    UserError, match='359 token ids, 100 of them special tokens of its noise'
  ):
    prepare.prepare(run, tmp_path / 'run')


def test_noise_for_nothing_that_is_read_is_told(tmp_path):
  noise = {'letters': SpanCorruption(), 'lettres': Prefix()}
  run = run_of(tmp_path, ENCODER_DECODER, phase('base', noise))
  with pytest.raises(UserError, match=r"'lettres'.* Did you mean: letters"):
    prepare.prepare(run, tmp_path / 'run')


def test_what_noise_lacks_shows_before_training(tmp_path):
  noise = CodeSwitch('/nowhere/words.tsv')
  run = run_of(
    tmp_path, ENCODER_DECODER, phase('one'), phase('two', noise, parent='one')
  )
  with pytest.raises(UserError, match='nowhere'):
    prepare.prepare(run, tmp_path / 'run')


@pytest.mark.parametrize(
  ('model', 'changes', 'message'),
  [
    (tiny.decoder(), {'target_length': 8}, 'is for encoder-decoders'),
    (tiny.decoder(positions=Learned(8)), {}, 'Learned.length = 8: rows have'),
    (
      tiny.decoder(),
      {'evaluate': Evaluate(final=(Translation('letters'),))},
      'Translation is for encoder-decoders',
    ),
    (
      ENCODER_DECODER,
      {'evaluate': Evaluate(final=(Translation('letters'),))},
      'letters .validation. has no pairs',
    ),
  ],
)
def test_what_would_end_training_later_is_told_first(
  tmp_path, model, changes, message
):
  run = run_of(tmp_path, model, phase('base', **changes))
  with pytest.raises(UserError, match=message):
    prepare.prepare(run, tmp_path / 'run')


@pytest.mark.parametrize('final', [(len,), 3, (Translation,)])
def test_final_evaluations_are_evals(final):
  with pytest.raises(UserError, match=r'Evaluate\.final'):
    Evaluate(final=final)


def test_translations_are_scored_at_the_end(tmp_path):
  losses = [[False] * 5 + [True] * 4] * 30
  for split in ('train', 'validation'):
    tiny_store(
      tmp_path / 'stores',
      'pairs',
      [[*range(70, 78), 1]] * 30,
      split,
      losses=losses,
      whole=True,
    )
  final = (Translation('pairs', pairs=5, batch_size=4, length=12),)
  pairs = phase(
    'pairs',
    length=60,
    evaluate=Evaluate(every=60, dense_every=60, rows=4, final=final),
    mixture=Mixture({'pairs': 1.0}),
    schedule=Constant(rate=1e-2),
  )
  run = run_of(tmp_path, ENCODER_DECODER, pairs)
  with pytest.raises(UserError, match='pairs'):  # nothing decodes its tokens
    prepare.prepare(run, tmp_path / 'run')
  corpus = dataclasses.replace(run.corpus, vocabulary=Bytes())
  run = dataclasses.replace(run, corpus=corpus)
  train(run, tmp_path / 'run')
  found = metrics(tmp_path / 'run')
  # One pair, learned by heart: four letters, so BLEU of one word.
  assert found['pairs', 60, 'validation/chrf/pairs']['value'] == 100
  assert found['pairs', 60, 'validation/too_long/pairs']['value'] == 0
  assert ('pairs', 0, 'validation/chrf/pairs') not in found
