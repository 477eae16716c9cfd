"""A checkpoint is restored without its gin file, and its run is listed."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from tests import tiny
from tests.formats.test_first import FIRST
from tests.test_damage import hurt
from tpu_lm import cli, restore
from tpu_lm.checkpoint import Checkpoints
from tpu_lm.checkpoint_folder import Damaged
from tpu_lm.checks import UserError
from tpu_lm.lineage import definition
from tpu_lm.loop import train
from tpu_lm.models.decoder import Decoder
from tpu_lm.sharding import Mesh


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  folder = tmp_path_factory.mktemp('restore')
  run = tiny.tree_run(folder / 'stores')
  run = dataclasses.replace(run, phases=run.phases[:2])
  train(run, folder / 'run', 'the configuration')
  return run, folder / 'run'


@pytest.mark.parametrize('mesh', [None, Mesh()])
def test_model_and_parameters(trained, mesh):
  run, run_dir = trained
  found = restore.restore(run_dir / 'phases/base', mesh=mesh)
  assert found.model == run.model
  assert found.lineage.end_step == 12 and found.config == 'the configuration'
  assert set(found.metrics) == {'validation/loss/letters'}
  arrays = Checkpoints(run_dir / 'phases/base/checkpoints').arrays(12)
  table = found.params['embedding']['table']
  np.testing.assert_array_equal(table, arrays['params/embedding/table'])
  out = found.model.apply(found.params, tiny.batch())
  assert jax.tree.leaves(out)


def test_a_step_and_an_older_format(trained):
  _, run_dir = trained
  assert restore.restore(run_dir / 'phases/base', 10).lineage.end_step == 10
  with pytest.raises(UserError, match=r'no checkpoint of step 7, .*\[10, 12\]'):
    restore.restore(run_dir / 'phases/base', 7)
  first = restore.restore(FIRST / 'phases/branch')
  assert (first.model.embed, first.lineage.end_step) == (8, 29)


def test_every_model_is_made_again():
  for make in (tiny.encoder, tiny.encoder_decoder, tiny.prefix_decoder):
    model = make(dtype='bfloat16')
    again = restore.built(json.loads(json.dumps(definition(model))), {})
    assert again == model


@dataclasses.dataclass(frozen=True)
class Mine(Decoder):
  """A model of somebody else's."""


def test_classes_of_others_are_given_by_the_caller():
  known = definition(Mine(**tiny.SIZES))
  with pytest.raises(UserError, match=r"class 'Mine'.*give it in `classes`"):
    restore.built(known, {})
  assert restore.built(known, {'Mine': Mine}) == Mine(**tiny.SIZES)


@pytest.mark.parametrize(
  'known',
  [
    {'class': 'system'},
    {'class': 'Popen', 'args': ['true']},
    {'class': ['x']},
    {'class': 'Decoder', 'vocabulary': -1},
    {**definition(tiny.decoder()), 'surprise': 1},
  ],
)
def test_nothing_else_is_made(known):
  with pytest.raises(UserError):
    restore.built(known, {})


def test_no_folder_of_a_phase(tmp_path):
  with pytest.raises(UserError, match='is no folder of a phase'):
    restore.restore(tmp_path)


# The command.


def listed(capsys, run_dir, *arguments):
  code = cli.main(['checkpoints', str(run_dir), *arguments])
  captured = capsys.readouterr()
  return code, captured.out, captured.err


def test_listing(trained, capsys):
  code, out, _ = listed(capsys, trained[1])
  lines = [line.split() for line in out.splitlines() if line.strip()]
  rows = [line for line in lines if line[0] in ('base', 'base_annealed')]
  assert code == 0 and len(rows) == 4
  assert [row[0] for row in rows] == ['base'] * 2 + ['base_annealed'] * 2
  assert 'base@12' in rows[-1] and '1,536' in rows[-1]
  assert 'verified' not in out


def test_verifying(trained, capsys, tmp_path, monkeypatch):
  monkeypatch.setattr('tpu_lm.patience.PAUSES', ())
  code, out, _ = listed(capsys, trained[1], '--verify')
  assert code == 0 and 'all are what was saved' in out
  assert out.count('verified') == 4
  folder = tmp_path / 'run'
  shutil.copytree(trained[1], folder)
  saves = folder / 'phases/base/checkpoints'
  hurt(saves / '10', 'a flipped byte')
  hurt(saves / '12', 'record')
  code, out, _ = listed(capsys, folder)
  assert code == 1 and 'its record was changed' in ' '.join(out.split())
  code, out, _ = listed(capsys, folder, '--verify')
  assert code == 1 and '2 damaged' in out
  with pytest.raises(Damaged):
    restore.restore(folder / 'phases/base')


def test_pinning(trained, capsys):
  _, run_dir = trained
  assert 'pinned' in listed(capsys, run_dir, '--pin=base/10')[1]
  saves = Checkpoints(run_dir / 'phases/base/checkpoints')
  assert saves.pinned() == [10]
  assert 'pinned' not in listed(capsys, run_dir, '--unpin=base/10')[1]
  assert saves.pinned() == []


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--pin=bass/10'], 'Did you mean: base'),
    (['--pin=base/9'], 'has checkpoints of the steps [10, 12]'),
    (['--pin=base'], 'has checkpoints of the steps [10, 12]'),
  ],
)
def test_mistakes(trained, capsys, arguments, message):
  code, _, err = listed(capsys, trained[1], *arguments)
  assert code == 2 and message in err


def test_no_run_folder(tmp_path, capsys):
  code, _, err = listed(capsys, tmp_path)
  assert code == 2 and 'is no run folder with a checkpoint' in err
