"""Runs of several processes: real ones, which meet over this machine's ports.

They train what one process trains, are stopped together, go on in another
number, and end together where one of them has a mistake.
"""

import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from tests import tiny
from tpu_lm.commands.train import EXIT_TRY_AGAIN

ROOT = pathlib.Path(__file__).parents[1]
DEVICES = 4  # of all processes together
MESH = ('--gin.Mesh.data=1', '--gin.Mesh.fsdp=2', '--gin.Mesh.tensor=2')


def free_port():
  with socket.socket() as listening:
    listening.bind(('127.0.0.1', 0))
    return listening.getsockname()[1]


@dataclasses.dataclass
class Team:
  """The processes of one run."""

  processes: list[subprocess.Popen]

  def finish(self, code=0):
    """The output of each, once all have ended with a code."""
    outputs = [p.communicate(timeout=240)[0] for p in self.processes]
    codes = [process.returncode for process in self.processes]
    assert codes == [code] * len(codes), (codes, outputs[0][-2000:])
    return outputs


def start(count, arguments, code='', own=()):
  """Starts `count` processes; `own`: more arguments, of the last one alone."""
  port, processes = free_port(), []
  for index in range(count):
    command = [sys.executable, '-m', 'tpu_lm.cli']
    if code:
      command = [sys.executable, '-c', code]
    command += ['train', '--gin_file=tests/tree.gin', *arguments]
    if count > 1:
      command += [f'--coordinator=127.0.0.1:{port}']
      command += [f'--processes={count}', f'--process={index}']
    devices = DEVICES // count
    processes.append(
      subprocess.Popen(
        [*command, *(own if index == count - 1 else ())],
        cwd=ROOT,
        env={
          **os.environ,
          'PYTHONPATH': str(ROOT),
          'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}',
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
      )
    )
  return Team(processes)


@pytest.fixture(scope='module')
def stores(tmp_path_factory):
  folder = tmp_path_factory.mktemp('processes')
  tiny.corpus(folder / 'stores')
  return folder / 'stores'


def arguments(stores, run_dir, *more):
  """Two short phases, with replay, changing weights, accumulation, a slot."""
  return [
    f'--run_dir={run_dir}',
    f"--gin.Corpus.store_dir='{stores}'",
    '--gin.Phase.batch_size=8',
    '--gin.STEPS=8',
    '--gin.code/Mixture.changes={5: {"code": 1.0, "letters": 0.5}}',
    '--gin.Run.phases=[@base/phase.Phase(), @next/phase.Phase()]',
    '--gin.infinite.Infinite.warmup=2',
    '--gin.Evaluate.dense_until=2',
    '--gin.Phase.save_every=4',
    *more,
  ]


def points(run_dir):
  """All points of metrics.jsonl, their values apart."""
  lines = (run_dir / 'metrics.jsonl').read_text().splitlines()
  found = [json.loads(line) for line in lines]
  return [point.pop('value') for point in found], found


def check_same(run_dir, other):
  values, places = points(run_dir)
  expected, where = points(other)
  assert places == where
  np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)
  for phase in ('base', 'next'):
    mine, theirs = (
      json.loads((folder / 'phases' / phase / 'lineage.json').read_text())
      for folder in (run_dir, other)
    )
    assert mine['status'] == 'done' and mine['ledger'] == theirs['ledger']
    assert mine['entry_ledger'] == theirs['entry_ledger']


@pytest.fixture(scope='module')
def alone(stores, tmp_path_factory):
  """The run that one process trains on four devices."""
  run_dir = tmp_path_factory.mktemp('alone') / 'run'
  start(1, arguments(stores, run_dir, *MESH)).finish()
  return run_dir


def test_two_processes_train_what_one_trains(stores, alone, tmp_path):
  run_dir = tmp_path / 'run'
  first, second = start(2, arguments(stores, run_dir, *MESH)).finish()
  check_same(run_dir, alone)
  assert 'report:' in first and 'phase.Run.name' in first
  assert 'report:' not in second and 'phase.Run.name' not in second
  assert (run_dir / 'report' / 'index.html').is_file()
  boards = list(run_dir.glob('tensorboard/*/*'))
  assert len(boards) == 2  # one a phase, of one process
  [saved] = run_dir.glob('phases/next/checkpoints/16/params')
  assert {p.name for p in saved.glob('ocdbt.process_*')} == {
    'ocdbt.process_0',
    'ocdbt.process_1',
  }


@pytest.mark.slow
def test_four_are_stopped_and_two_go_on(stores, alone, tmp_path):
  """On another mesh, too: four times the rows, then two times and tensor."""
  run_dir, metrics = tmp_path / 'run', tmp_path / 'run' / 'metrics.jsonl'
  mesh = '--gin.Mesh.data=2', '--gin.Mesh.fsdp=2', '--gin.Phase.save_every=100'
  team = start(4, arguments(stores, run_dir, *mesh[:2]))
  deadline = time.monotonic() + 200
  while not (metrics.is_file() and b'"step": 3,' in metrics.read_bytes()):
    assert time.monotonic() < deadline
    assert team.processes[0].poll() is None, team.finish()
    time.sleep(0.05)
  team.processes[2].send_signal(signal.SIGTERM)  # one of them is enough
  outputs = team.finish(EXIT_TRY_AGAIN)
  assert all('goes on from there' in output for output in outputs)
  start(2, arguments(stores, run_dir, *MESH)).finish()
  check_same(run_dir, alone)


@pytest.mark.slow
def test_two_skip_the_steps_that_one_skips(stores, tmp_path):
  """Half of the steps are called spikes."""
  more = (*MESH, '--gin_file=gin_configs/guard.gin')
  more += ('--gin.Guard.window=4', '--gin.Guard.threshold=1e-3')
  more += ('--gin.Infinite.peak=1e-6', '--gin.Infinite.constant=5e-7')
  for count in (1, 2):
    run_dir = tmp_path / str(count)
    start(count, arguments(stores, run_dir, *more)).finish()
  check_same(tmp_path / '2', tmp_path / '1')
  lineage = json.loads((tmp_path / '2/phases/next/lineage.json').read_text())
  skipped = lineage['ledger']['skipped']
  assert {one['phase'] for one in skipped} == {'base', 'next'}


def test_a_mistake_of_one_ends_all(stores, tmp_path):
  run_dir = tmp_path / 'run'
  own = ['--gin.Phase.batch_size=7']
  first, second = start(2, arguments(stores, run_dir), own=own).finish(2)
  assert second.startswith('tpu-lm: Phase.micro_batches = 2')
  assert first.startswith('tpu-lm: process 1: Phase.micro_batches = 2')
  assert not run_dir.exists()


def test_the_configuration_must_be_the_same(stores, tmp_path):
  run_dir = tmp_path / 'run'
  own = ['--gin.Phase.batch_size=16']
  for output in start(2, arguments(stores, run_dir), own=own).finish(2):
    assert 'the configuration must be the same in all processes' in output
    assert 'batch_size = 8' in output and 'batch_size = 16' in output
  assert not run_dir.exists()


NOT_SHARED = """
import sys
from tpu_lm import cli, run_folder
run_folder.SECONDS_TO_APPEAR = 1
sys.exit(cli.main())
"""


def test_a_folder_that_is_not_shared_is_refused(stores, tmp_path):
  team = start(
    2,
    arguments(stores, tmp_path / 'run', *MESH),
    code=NOT_SHARED,
    own=[f'--run_dir={tmp_path / "elsewhere"}'],
  )
  for output in team.finish(2):
    assert 'must be on a disk that they share' in output


@pytest.mark.parametrize(
  'given',
  [
    ['--coordinator=127.0.0.1:1'],
    ['--processes=2', '--process=0'],
    ['--coordinator=127.0.0.1:1', '--processes=2', '--process=2'],
    ['--coordinator=here', '--processes=2', '--process=0'],
  ],
)
def test_addresses_belong_together(given, stores, tmp_path):
  [output] = start(1, [*arguments(stores, tmp_path / 'run'), *given]).finish(2)
  assert output.startswith('tpu-lm: --coordinator=HOST:PORT, --processes=N')
  assert not (tmp_path / 'run').exists()
