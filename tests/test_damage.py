"""Damaged checkpoints: found, set aside, and trained anew to the same bits."""

import dataclasses
import pathlib
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from orbax.checkpoint import v1 as ocp

from tests import tiny
from tpu_lm.checkpoint import Checkpoints
from tpu_lm.checkpoint_folder import COMMITTED, Damaged
from tpu_lm.checks import UserError
from tpu_lm.interrupt import Interrupted
from tpu_lm.loop import train
from tpu_lm.retention import Retention
from tpu_lm.same import compare
from tpu_lm.state import TrainState


@pytest.fixture(scope='module')
def one(tmp_path_factory):
  """A checkpoint and its arrays."""
  checkpoints = Checkpoints(tmp_path_factory.mktemp('one'))
  random = np.random.default_rng(0)
  params = {'a': {'w': jnp.asarray(random.normal(size=(40, 30)), jnp.float32)}}
  params['b'] = jnp.arange(7, dtype=jnp.int32)
  optimizer = {'mu': params, 'count': jnp.int32(3)}
  state = TrainState(jnp.int32(4), params, optimizer, {})
  checkpoints.save(state, {'lineage': {'phase': 'x'}, 'config': 'y'})
  checkpoints.wait()
  return checkpoints, checkpoints.arrays(4), checkpoints.record(4)


def files(folder: pathlib.Path) -> list[pathlib.Path]:
  found = sorted(path for path in folder.rglob('*') if path.is_file())
  return [path.relative_to(folder) for path in found]


def damage(path: pathlib.Path, kind: str, place: float, bit: int) -> None:
  content = bytearray(path.read_bytes())
  at = int(place * len(content))
  if kind == 'gone':
    path.unlink()
    return
  if kind == 'cut off':
    content = content[:at]
  elif kind == 'flipped' and content:
    content[at] ^= 1 << bit
  elif kind == 'zeroed':
    content[at : at + 512] = bytes(len(content[at : at + 512]))
  path.write_bytes(content)


KINDS = ('flipped', 'cut off', 'gone', 'zeroed')


def found_or_harmless(one, folder, name, kind, place, bit):
  checkpoints, arrays, record = one
  shutil.rmtree(folder, ignore_errors=True)
  shutil.copytree(checkpoints.directory, folder)
  damage(folder / '4' / name, kind, place, bit)
  other = Checkpoints(folder)
  if not other.steps():
    assert name.name == COMMITTED and kind == 'gone'
    return
  try:
    told, found = other.record(4), other.arrays(4)
  except Damaged:
    return
  assert told == record and found.keys() == arrays.keys()
  for key, array in arrays.items():
    assert array.dtype == found[key].dtype
    np.testing.assert_array_equal(array, found[key], err_msg=key)


def any_damage(examples):
  def wrap(test):
    strategy = st.tuples(
      st.integers(0, 10**6),
      st.sampled_from(KINDS),
      st.floats(0, 1, exclude_max=True),
      st.integers(0, 7),
    )
    checks = [HealthCheck.function_scoped_fixture]
    options = {'deadline': None, 'derandomize': True}
    return settings(
      max_examples=examples, suppress_health_check=checks, **options
    )(given(strategy)(test))

  return wrap


@pytest.fixture
def hurried(monkeypatch):
  monkeypatch.setattr('tpu_lm.patience.PAUSES', ())


def check_any(one, tmp_path, drawn):
  number, *rest = drawn
  names = files(one[0].directory / '4')
  found_or_harmless(one, tmp_path / 'other', names[number % len(names)], *rest)


@pytest.mark.usefixtures('hurried')
@any_damage(60)
def test_damage_is_found_or_does_no_harm(one, tmp_path, drawn):
  check_any(one, tmp_path, drawn)


@pytest.mark.slow
@pytest.mark.usefixtures('hurried')
@any_damage(1500)
def test_damage_is_found_or_does_no_harm_often(one, tmp_path, drawn):
  check_any(one, tmp_path, drawn)


def test_reading_is_tried_again(one, monkeypatch):
  checkpoints, arrays, _ = one
  load, failed, waited = ocp.load_checkpointables, [], []

  def fail_twice(*arguments):
    if len(failed) < 2:
      failed.append(OSError(5, 'Input/output error'))
      raise failed[-1]
    return load(*arguments)

  monkeypatch.setattr(ocp, 'load_checkpointables', fail_twice)
  monkeypatch.setattr('time.sleep', waited.append)
  assert checkpoints.arrays(4).keys() == arrays.keys()
  assert len(failed) == 2 and waited == [0.5, 2.0]


def test_a_disk_that_does_not_read_is_not_damage(one, monkeypatch):
  def fail(*_, **__):
    raise OSError(5, 'Input/output error')

  monkeypatch.setattr(ocp, 'load_checkpointables', fail)
  monkeypatch.setattr(pathlib.Path, 'open', fail)
  monkeypatch.setattr('tpu_lm.patience.PAUSES', ())
  with pytest.raises(UserError, match='can not be read') as told:
    one[0].arrays(4)
  assert not isinstance(told.value, Damaged)


def test_a_timeout_is_not_damage(one, monkeypatch):
  def late(*_):
    raise TimeoutError('the others did not come')

  monkeypatch.setattr(ocp, 'load_checkpointables', late)
  monkeypatch.setattr('time.sleep', lambda _: None)
  with pytest.raises(TimeoutError):
    one[0].arrays(4)


# Runs.


@pytest.fixture(scope='module')
def stopped(tmp_path_factory):
  """A run, what it comes to, and a folder of it with two checkpoints."""
  folder = tmp_path_factory.mktemp('damage')
  run = tiny.tree_run(folder / 'stores')
  run = dataclasses.replace(run, phases=(run.phases[0], run.phases[2]))
  train(run, folder / 'whole', 'the configuration')
  with pytest.raises(Interrupted):
    train(run, folder / 'stopped', 'the configuration', stop_after=10)
  return run, folder / 'whole', folder / 'stopped'


def hurt(folder, part):
  """Damages one file of a checkpoint so that it can't be what it was."""
  if part == 'record':
    path = folder / '_CHECKPOINT_METADATA'
    text = path.read_text()
    assert text.count('"learning_rate": ') >= 1
    path.write_text(
      text.replace('"learning_rate": 0.00', '"learning_rate": 0.0')
    )
  elif part == 'a missing file':
    next((folder / 'optimizer' / 'd').iterdir()).unlink()
  else:
    path = next((folder / 'params' / 'ocdbt.process_0' / 'd').iterdir())
    content = bytearray(path.read_bytes())
    if part == 'a flipped byte':
      content[len(content) // 3] ^= 0xFF
    path.write_bytes(
      content if part == 'a flipped byte' else content[: len(content) // 2]
    )


@pytest.mark.usefixtures('hurried')
@pytest.mark.parametrize(
  'part', ['record', 'a missing file', 'a flipped byte', 'a cut file']
)
def test_the_run_falls_back(stopped, tmp_path, capsys, part):
  run, whole, before = stopped
  folder = tmp_path / 'run'
  shutil.copytree(before, folder)
  saves = folder / 'phases/base/checkpoints'
  assert Checkpoints(saves).steps() == [5, 10]
  hurt(saves / '10', part)
  train(run, folder, 'the configuration')
  told = capsys.readouterr().err
  assert 'checkpoints/10 is damaged' in told
  assert 'set aside as 10.damaged, going on from step 5' in told
  assert (saves / '10.damaged').is_dir()
  assert compare(whole, folder).difference is None


def test_a_checkpoint_without_its_commit_is_left_out(stopped, tmp_path, capsys):
  run, whole, before = stopped
  folder = tmp_path / 'run'
  shutil.copytree(before, folder)
  saves = folder / 'phases/base/checkpoints'
  (saves / '10' / COMMITTED).unlink()
  train(run, folder, 'the configuration')
  assert (
    f'checkpoints/10 is left out: its {COMMITTED}' in capsys.readouterr().err
  )
  assert compare(whole, folder).difference is None


@pytest.mark.usefixtures('hurried')
def test_it_stops_where_none_is_left(stopped, tmp_path):
  """Nobody wants weeks of training begun again without a word."""
  run, whole, before = stopped
  folder = tmp_path / 'run'
  shutil.copytree(before, folder)
  saves = folder / 'phases/base/checkpoints'
  for step in (5, 10):
    hurt(saves / str(step), 'a cut file')
  with pytest.raises(UserError, match=r'damaged.*no other is left.*delete'):
    train(run, folder, 'the configuration')
  shutil.rmtree(saves)
  train(run, folder, 'the configuration')
  assert compare(whole, folder).difference is None


@pytest.mark.usefixtures('hurried')
def test_the_damage_of_another_branch_is_its_own_affair(stopped, tmp_path):
  run, whole, _ = stopped
  folder = tmp_path / 'run'
  shutil.copytree(whole, folder)
  base, child = run.phases
  hurt(folder / 'phases/next/checkpoints/24', 'record')
  branch = dataclasses.replace(child, name='other')
  train(dataclasses.replace(run, phases=(base, branch)), folder, 'the config')
  train(run, folder, 'the configuration')  # falls back, now that it is its turn
  assert (folder / 'phases/next/checkpoints/24.damaged').is_dir()
  shutil.rmtree(folder / 'phases/other')
  left = (folder / 'metrics.jsonl').read_text().splitlines(keepends=True)
  kept = [line for line in left if '"phase": "other"' not in line]
  (folder / 'metrics.jsonl').write_text(''.join(kept))
  assert compare(whole, folder).difference is None


@pytest.mark.usefixtures('hurried')
@pytest.mark.parametrize('part', ['record', 'a flipped byte'])
def test_it_stops_if_told_to(stopped, tmp_path, part):
  run, _, before = stopped
  folder = tmp_path / 'run'
  shutil.copytree(before, folder)
  saves = folder / 'phases/base/checkpoints'
  hurt(saves / '10', part)
  careful = dataclasses.replace(run, checkpoints=Retention(when_damaged='stop'))
  with pytest.raises(Damaged, match='checkpoints/10 is damaged'):
    train(careful, folder, 'the configuration')
  assert Checkpoints(saves).steps() == [5, 10]


@pytest.mark.usefixtures('hurried')
def test_a_parent_of_another_run_is_not_replaced(stopped, tmp_path):
  """From another checkpoint of it the phase would be another."""
  run, whole, _ = stopped
  parent = tmp_path / 'parent'
  shutil.copytree(whole / 'phases/base', parent)
  hurt(parent / 'checkpoints/12', 'a flipped byte')
  child = dataclasses.replace(run.phases[1], parent=str(parent))
  alone = dataclasses.replace(run, phases=(child,))
  with pytest.raises(Damaged, match='checkpoints/12 is damaged: params/'):
    train(alone, tmp_path / 'run', 'the configuration')
  assert Checkpoints(parent / 'checkpoints').steps() == [10, 12]
