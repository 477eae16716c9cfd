"""`tpu-lm verify-resume` on three configurations, and what it finds."""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests import tiny
from tpu_lm.checkpoint import Checkpoints
from tpu_lm.cli import EXIT_MISTAKE
from tpu_lm.commands import verify_resume
from tpu_lm.loop import train
from tpu_lm.same import compare

TESTS = pathlib.Path(__file__).parent
# K: the tree stops in its branch, and ends in the child.
CONFIGS = {
  'tree.gin': 48,
  'verify_resume/denoising.gin': 4,
  'verify_resume/muon.gin': 3,
}


@pytest.fixture(scope='module')
def place(tmp_path_factory):
  """A folder with what the configurations read."""
  folder = tmp_path_factory.mktemp('verify')
  tiny.corpus(folder / 'stores')
  words = ['sun', 'moon', 'sea', 'hill', 'road', 'rain']
  draw = np.random.default_rng(0).choice
  texts = [' '.join(draw(words, 30)) for _ in range(400)]
  lines = {
    'text': [{'text': text} for text in texts],
    'pairs': [{'en': text[:20], 'de': text[-20:]} for text in texts],
  }
  for name, records in lines.items():
    written = '\n'.join(map(json.dumps, records))
    (folder / f'{name}.jsonl').write_text(written)
  return folder


def call(place, gin_file, *more):
  return subprocess.run(
    [
      *(sys.executable, '-m', 'tpu_lm.cli', 'verify-resume'),
      f'--gin_file={TESTS / gin_file}',
      f"--gin.Corpus.store_dir='{place / 'stores'}'",
      *more,
    ],
    cwd=place,
    env={**os.environ, 'PYTHONPATH': str(TESTS.parent)},
    capture_output=True,
    text=True,
    check=False,
  )


@pytest.mark.parametrize('name', CONFIGS)
def test_identical(name, place):
  done = call(place, name, f'--steps={CONFIGS[name]}')
  assert done.returncode == 0, done.stdout + done.stderr
  assert done.stdout.splitlines()[-1].startswith('identical: ')


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--steps=0'], 'must be at least 1'),
    (['--steps=5'], 'more than the 8 steps of the run'),
    (['--keep=.'], 'is there already'),
    (['--steps=2', "--gin.Files.path='none.jsonl'"], 'none.jsonl'),
  ],
)
def test_mistakes(place, arguments, message):
  done = call(place, 'verify_resume/muon.gin', *arguments)
  assert done.returncode == EXIT_MISTAKE
  assert message in done.stderr and 'Traceback' not in done.stderr


@pytest.fixture(scope='module')
def twice(tmp_path_factory):
  """One run, trained twice, of few steps."""
  folder = tmp_path_factory.mktemp('twice')
  run = tiny.tree_run(folder / 'stores')
  run = dataclasses.replace(run, phases=run.phases[:2])
  for name in ('one', 'other'):
    train(run, folder / name)
  return folder


def test_two_runs_are_the_same(twice):
  found = compare(twice / 'one', twice / 'other')
  assert found.difference is None
  assert (found.phases, found.step) == (2, 24) and found.arrays > 50


def changed(folder, tmp_path, change):
  """Compares with a copy in which one file is changed."""
  copy = tmp_path / 'copy'
  shutil.copytree(folder, copy)
  change(copy)
  return compare(folder, copy).difference


def lose_a_line(copy):
  path = copy / 'metrics.jsonl'
  path.write_text(''.join(path.read_text().splitlines(True)[:-1]))


def change_a_line(copy):
  path = copy / 'metrics.jsonl'
  path.write_text(path.read_text().replace('"value": ', '"value": 1', 1))


def read_other_rows(copy):
  path = copy / 'phases' / 'base_annealed' / 'lineage.json'
  lineage = json.loads(path.read_text())
  lineage['ledger']['seed'] = 1
  path.write_text(json.dumps(lineage))


def lose_a_phase(copy):
  shutil.rmtree(copy / 'phases' / 'base_annealed')


def lose_a_checkpoint(copy):
  checkpoints = Checkpoints(copy / 'phases' / 'base' / 'checkpoints')
  shutil.rmtree(checkpoints.directory / str(checkpoints.steps()[-1]))


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (lose_a_line, 'metrics.jsonl: '),
    (change_a_line, 'metrics.jsonl, line 1: '),
    (read_other_rows, 'base_annealed, lineage.json: ledger differs'),
    (lose_a_phase, 'phases: base, base_annealed against base'),
    (lose_a_checkpoint, 'base: checkpoints of step [12] against [10]'),
  ],
)
def test_what_differs_is_named(twice, tmp_path, change, message):
  assert message in changed(twice / 'one', tmp_path, change)


def test_the_first_array_that_differs_is_named(twice, monkeypatch):
  whole = Checkpoints.arrays

  def bent(checkpoints, step):
    arrays = whole(checkpoints, step)
    if 'other' in checkpoints.directory.parts:
      table = arrays['params/embedding/table'].copy()
      table[3, 5] += 0.5
      arrays |= {'params/embedding/table': table}
    return arrays

  monkeypatch.setattr(Checkpoints, 'arrays', bent)
  told = compare(twice / 'one', twice / 'other').difference
  assert told == (
    'base, step 12: params/embedding/table: 0.0% differ, by 0.5 at the most'
  )


def test_a_difference_ends_with_a_code_of_its_own(twice, tmp_path, capsys):
  shutil.copytree(twice / 'one', tmp_path / 'copy')
  lose_a_line(tmp_path / 'copy')
  code = verify_resume._compare(twice / 'one', tmp_path / 'copy')
  assert code == verify_resume.EXIT_DIFFERENT
  assert capsys.readouterr().out.startswith('different: metrics.jsonl')
