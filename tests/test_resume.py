"""A run stopped anywhere ends with the bits of one that never stopped.

Real processes, started again with the same command, stopped by SIGTERM and by
SIGKILL: in the first phase, around the switches, during saves, across the
change of mixture weights.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from tests import tiny
from tpu_lm.commands.train import EXIT_TRY_AGAIN
from tpu_lm.tree import named_paths

ROOT = pathlib.Path(__file__).parents[1]
PHASES = ('base', 'branch', 'next')


def start(stores, run_dir):
  command = [sys.executable, '-m', 'tpu_lm.cli', 'train']
  command += ['--gin_file=tests/tree.gin', f'--run_dir={run_dir}']
  command += [f"--gin.Corpus.store_dir='{stores}'"]
  return subprocess.Popen(
    command,
    cwd=ROOT,
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def finish(process):
  output, _ = process.communicate(timeout=300)
  assert process.returncode == 0, output[-3000:]


def stop_when(process, run_dir, lines, number):
  """Sends a signal once metrics.jsonl has so many lines."""
  metrics, deadline = run_dir / 'metrics.jsonl', time.monotonic() + 200
  while process.poll() is None:
    count = metrics.read_bytes().count(b'\n') if metrics.exists() else 0
    if count >= lines:
      process.send_signal(number)
      process.communicate(timeout=100)
      return True
    assert time.monotonic() < deadline
    time.sleep(0.01)
  return False


def final_state(run_dir):
  """Everything that the contract names: arrays, ledgers, metrics."""
  arrays, ledgers = {}, {}
  for phase in PHASES:
    folder = run_dir / 'phases' / phase
    steps = [int(p.name) for p in (folder / 'checkpoints').iterdir()]
    loaded = ocp.load_checkpointables(folder / 'checkpoints' / str(max(steps)))
    arrays |= {
      f'{phase}/{name}': np.asarray(leaf)
      for name, leaf in named_paths(loaded).items()
    }
    lineage = json.loads((folder / 'lineage.json').read_text())
    assert lineage['status'] == 'done'
    ledgers[phase] = lineage['entry_ledger'], lineage['ledger']
  return arrays, ledgers, (run_dir / 'metrics.jsonl').read_bytes()


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
  folder = tmp_path_factory.mktemp('resume')
  tiny.corpus(folder / 'stores')
  finish(start(folder / 'stores', folder / 'undisturbed'))
  return folder / 'stores', final_state(folder / 'undisturbed')


def check_same(run_dir, want):
  arrays, ledgers, metrics = final_state(run_dir)
  assert arrays.keys() == want[0].keys()
  for name, array in want[0].items():
    np.testing.assert_array_equal(arrays[name], array, err_msg=name)
  assert ledgers == want[1]
  assert metrics == want[2]


def total_lines(undisturbed):
  return undisturbed[1][2].count(b'\n')


def test_the_reference_covers_what_it_should(undisturbed):
  arrays, ledgers, metrics = undisturbed[1]
  assert any('slot_L2ToStart' in name for name in arrays)
  assert any(name.endswith('/nu/embedding/table') for name in arrays)
  rows = ledgers['next'][1]['rows']
  assert rows['replay:letters@32'] == 40 and rows['letters@32'] > 160
  assert total_lines(undisturbed) > 150 and metrics.endswith(b'\n')


@pytest.mark.slow
def test_killed_and_started_again(undisturbed, tmp_path):
  stores, want = undisturbed
  total, run_dir, stopped = total_lines(undisturbed), tmp_path / 'run', 0
  for share in (0.0, 0.2, 0.31, 0.62, 0.85):
    process = start(stores, run_dir)
    stopped += stop_when(process, run_dir, share * total, signal.SIGKILL)
  assert stopped >= 4
  finish(start(stores, run_dir))
  check_same(run_dir, want)


def test_terminated_and_started_again(undisturbed, tmp_path):
  stores, want = undisturbed
  total, run_dir, codes = total_lines(undisturbed), tmp_path / 'run', []
  for share in (0.1, 0.45, 0.75):
    process = start(stores, run_dir)
    assert stop_when(process, run_dir, share * total, signal.SIGTERM)
    codes.append(process.returncode)
  assert codes == [EXIT_TRY_AGAIN] * 3
  finish(start(stores, run_dir))
  check_same(run_dir, want)


@pytest.mark.slow
@pytest.mark.parametrize('seed', range(3))
def test_killed_at_random_moments(undisturbed, tmp_path, seed):
  """By the clock, so that saves, evaluations and compilations are hit too."""
  stores, want = undisturbed
  random, run_dir = np.random.default_rng(seed), tmp_path / 'run'
  kills = 0
  while kills < 8:
    process = start(stores, run_dir)
    try:
      process.communicate(timeout=random.uniform(2, 6))
      break  # it came to its end
    except subprocess.TimeoutExpired:
      process.kill()
      process.communicate()
      kills += 1
  assert kills >= 2
  finish(start(stores, run_dir))
  check_same(run_dir, want)
