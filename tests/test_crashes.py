"""Killed anywhere, by SIGKILL: the same command goes on to the same bits.

Real processes, killed at operations on files that are named (the building of a
store, a save, its last rename, the removal of an old checkpoint, the logs) and
some milliseconds after them, and by the clock in their first second.
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

from tests import tiny
from tpu_lm.same import compare

ROOT = pathlib.Path(__file__).parents[1]


def command(folder, run_dir):
  arguments = ['train', '--gin_file=tests/crash.gin', f'--run_dir={run_dir}']
  for name in tiny.TEXTS:
    path = folder / f'{name}.jsonl'
    arguments += [f"--gin.{name}/Files.path='{path}'"]
  stores = run_dir.parent / 'stores'
  return [*arguments, f"--gin.Corpus.store_dir='{stores}'"]


def start(when, delay, folder, run_dir):
  run_dir.parent.mkdir(parents=True, exist_ok=True)
  watched = [sys.executable, '-m', 'tests.crash', when, str(delay)]
  return subprocess.Popen(
    [*watched, str(run_dir.parent), '--', *command(folder, run_dir)],
    cwd=ROOT,
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def finish(when, delay, folder, run_dir):
  process = start(when, delay, folder, run_dir)
  output, _ = process.communicate(timeout=300)
  assert process.returncode in (0, -signal.SIGKILL), output[-3000:]
  return process.returncode


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
  folder = tmp_path_factory.mktemp('crashes')
  for name, texts in tiny.TEXTS.items():
    lines = (json.dumps({'text': text}) for text in texts)
    (folder / f'{name}.jsonl').write_text('\n'.join(lines))
  assert finish('count', 0, folder, folder / 'whole/run') == 0
  counts = json.loads((folder / 'whole/operations.json').read_text())
  return folder, counts


def kill_and_go_on(undisturbed, tmp_path, moments):
  """Kills one start after the other, then lets one finish; the kills."""
  folder, _ = undisturbed
  run_dir, kills = tmp_path / 'here/run', 0
  for when, delay in moments:
    code = finish(when, delay, folder, run_dir)
    kills += code != 0
  assert finish('never', 0, folder, run_dir) == 0
  same = compare(folder / 'whole/run', run_dir)
  assert same.difference is None, same
  assert same.phases == 3 and same.arrays > 100
  return kills


def test_every_kind_of_operation_happens(undisturbed):
  _, counts = undisturbed
  assert counts.keys() >= {'store', 'save', 'finalise', 'prune', 'log'}
  assert min(counts.values()) >= 3


def test_killed_at_named_moments(undisturbed, tmp_path):
  moments = [('store:9', 0), ('save:12', 4), ('finalise:1', 0), ('prune:2', 0)]
  assert kill_and_go_on(undisturbed, tmp_path, moments) == len(moments)


@pytest.mark.slow
@pytest.mark.parametrize('seed', range(6))
def test_killed_at_random_operations(undisturbed, tmp_path, seed):
  """Five kills in each of six runs."""
  _, counts = undisturbed
  random = np.random.default_rng(seed)
  moments = []
  for kind in ('store', 'save', 'finalise', 'prune', 'log'):
    most = max(1, counts[kind] // (1 if kind == 'store' else 4))
    number = int(random.integers(1, most, endpoint=True))
    delay = round(float(random.choice([0, random.uniform(0, 30)])), 1)
    moments.append((f'{kind}:{number}', delay))
  kills = kill_and_go_on(undisturbed, tmp_path, moments)
  assert kills >= 4, moments


@pytest.mark.slow
def test_killed_in_the_first_second(undisturbed, tmp_path):
  folder, _ = undisturbed
  for wait in (0.05, 0.2, 0.4, 0.6, 0.8, 1.0):
    process = start('never', 0, folder, tmp_path / 'here/run')
    time.sleep(wait)
    process.kill()
    process.communicate()
  assert kill_and_go_on(undisturbed, tmp_path, []) == 0
