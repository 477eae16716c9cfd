"""What goes wrong around a run: disks, neighbours, signals, dead machines.

Real processes; each time the same command goes on to the same bits.
"""

import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests import test_processes as processes
from tests import tiny
from tests.test_damage import hurt
from tpu_lm.commands.train import EXIT_TRY_AGAIN
from tpu_lm.same import compare

ROOT = pathlib.Path(__file__).parents[1]
SECONDS_TO_STOP = 25  # clouds give 30 after SIGTERM
SECONDS_TO_NOTICE = 100  # JAX's heartbeats


@pytest.fixture(scope='module')
def stores(tmp_path_factory):
  folder = tmp_path_factory.mktemp('faults')
  tiny.corpus(folder / 'stores')
  return folder / 'stores'


def command(stores, run_dir, *more):
  return [
    *(sys.executable, '-m', 'tpu_lm.cli', 'train'),
    '--gin_file=tests/tree.gin',
    f'--run_dir={run_dir}',
    f"--gin.Corpus.store_dir='{stores}'",
    *more,
  ]


def start(arguments, **options):
  return subprocess.Popen(
    arguments,
    cwd=ROOT,
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    **options,
  )


def finish(process, code=0):
  """The lines of standard error."""
  _, errors = process.communicate(timeout=300)
  assert process.returncode == code, errors[-3000:]
  return errors.splitlines()


def wait_for(run_dir, text, process):
  metrics, deadline = run_dir / 'metrics.jsonl', time.monotonic() + 200
  while not (metrics.is_file() and text in metrics.read_text()):
    assert time.monotonic() < deadline and process.poll() is None
    time.sleep(0.02)


@pytest.fixture(scope='module')
def undisturbed(stores, tmp_path_factory):
  run_dir = tmp_path_factory.mktemp('undisturbed') / 'run'
  finish(start(command(stores, run_dir)))
  return run_dir


def test_a_disk_that_takes_no_more(stores, undisturbed, tmp_path):
  """No file may be longer than 60 kB; a checkpoint of these has 200."""
  run_dir = tmp_path / 'run'
  limit = 60_000, resource.RLIM_INFINITY
  process = start(
    command(stores, run_dir),
    preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
  )
  (line,) = finish(process, 2)
  assert line.startswith(f'tpu-lm: --run_dir={run_dir}: [Errno 27]')
  assert line.endswith('see to the disk, and the same command goes on')
  finish(start(command(stores, run_dir)))
  assert compare(undisturbed, run_dir).difference is None


FULL_DISK = """
set -e
mount -t tmpfs -o size=$1 none "$2"
shift 2
rc=0; "$@" --run_dir="$0/run" 2> "$0/../full.txt" || rc=$?
echo $rc > "$0/../code.txt"
mount -o remount,size=64m "$0"
"$@" --run_dir="$0/run"
cp -r "$0/run" "$0/../run"
"""


def may_mount(tmp_path):
  (tmp_path / 'try').mkdir()
  tried = ['unshare', '-rm', 'mount', '-t', 'tmpfs', 'none']
  try:
    done = subprocess.run(
      [*tried, str(tmp_path / 'try')], capture_output=True, check=False
    )
  except FileNotFoundError:
    return False
  return done.returncode == 0


@pytest.mark.parametrize(
  'size', ['700k', pytest.param('2m', marks=pytest.mark.slow)]
)
def test_a_full_disk(stores, undisturbed, tmp_path, size):
  """In a save (700 kB), and where a log line no longer fits (2 MB)."""
  if not may_mount(tmp_path):
    pytest.skip('needs unshare and mount, to have a small disk')
  disk = tmp_path / 'disk'
  disk.mkdir()
  unshared = ['unshare', '-rm', 'bash', '-c', FULL_DISK, str(disk)]
  arguments = command(stores, 'none')
  arguments = [text for text in arguments if not text.startswith('--run_dir')]
  finish(start([*unshared, size, str(disk), *arguments]))
  assert (tmp_path / 'code.txt').read_text() == '2\n'
  (line,) = (tmp_path / 'full.txt').read_text().splitlines()
  assert '[Errno 28] No space left on device' in line
  assert compare(undisturbed, tmp_path / 'run').difference is None


def test_sigterm_saves_in_time_while_a_second_process_is_refused(
  stores, undisturbed, tmp_path
):
  run_dir = tmp_path / 'run'
  first = start(command(stores, run_dir))
  wait_for(run_dir, '"step": 3,', first)
  first.send_signal(signal.SIGSTOP)  # so that it does not end meanwhile
  (line,) = finish(start(command(stores, run_dir)), 2)
  assert line.endswith('run: another process is training in it')
  first.send_signal(signal.SIGCONT)
  first.send_signal(signal.SIGTERM)
  asked = time.monotonic()
  *_, line = finish(first, EXIT_TRY_AGAIN)
  assert time.monotonic() - asked < SECONDS_TO_STOP
  assert 'the same command goes on from there' in line
  finish(start(command(stores, run_dir)))
  assert compare(undisturbed, run_dir).difference is None


@pytest.mark.slow
@pytest.mark.parametrize('victim', [0, 1])
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGSTOP])
def test_who_dies_or_hangs_ends_the_others(stores, tmp_path, victim, number):
  """SIGSTOP is a machine that froze: its connections stay."""
  runs = tmp_path / 'run', tmp_path / 'whole'
  mesh = (*processes.MESH, '--gin.STEPS=300', '--gin.Phase.save_every=40')
  run, whole = (processes.arguments(stores, path, *mesh) for path in runs)
  team = processes.start(2, run).processes
  wait_for(runs[0], '"step": 60,', team[0])
  team[victim].send_signal(number)
  try:
    team[1 - victim].communicate(timeout=SECONDS_TO_NOTICE + 20)
    assert team[1 - victim].returncode != 0
  finally:
    for process in team:
      process.kill()
      process.communicate()
  processes.start(2, run).finish()
  processes.start(2, whole).finish()
  assert compare(*runs).difference is None


@pytest.mark.slow
def test_several_processes_fall_back_together(stores, tmp_path):
  run_dir, whole = tmp_path / 'run', tmp_path / 'whole'
  processes.start(
    2, processes.arguments(stores, whole, *processes.MESH)
  ).finish()
  more = (*processes.MESH, '--stop_after=8')
  arguments = processes.arguments(stores, run_dir, *more)
  processes.start(2, arguments).finish(EXIT_TRY_AGAIN)
  for part in ('a flipped byte', 'record'):
    saves = run_dir / 'phases/base/checkpoints'
    (newest,) = (p for p in saves.iterdir() if p.name == '8')
    hurt(newest, part)
    arguments = processes.arguments(stores, run_dir, *processes.MESH)
    outputs = processes.start(2, arguments).finish()
    assert 'set aside as 8.damaged, going on from step 4' in outputs[0]
    assert compare(whole, run_dir).difference is None
    shutil.rmtree(run_dir / 'phases/next')
    lineage = json.loads((run_dir / 'phases/base/lineage.json').read_text())
    assert lineage['end_step'] == 8
