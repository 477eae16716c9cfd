"""Trains for long with many saves and kills: nothing leaks, nothing is lost.

  python scripts/benchmarks/soak.py
  python scripts/benchmarks/soak.py --steps=1000 --kill_every=300   # a try

Trains a tiny decoder twice, each time in processes of its own: once undisturbed
in one process, whose memory and open files are sampled all the while; once
killed by SIGKILL every `--kill_every` steps and started again by the same
command. Then compares all arrays, ledgers and metrics of the two bit for bit.

Exits with 1 if they differ, if the undisturbed process has more open files in
the last tenth of its steps than in the second (medians), or if its memory grew
by more than `--growth` MB between them. (The first compiles and fills caches.)
"""

import argparse
import json
import os
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import rich.progress

ROOT = pathlib.Path(__file__).parents[2]
WORDS = ('the', 'sun', 'river', 'stone', 'walks', 'under', 'a', 'green', 'hill')
RUN = """
from __gin__ import dynamic_registration
from tpu_lm import guard
from tpu_lm import phase
from tpu_lm import sharding
from tpu_lm.data import corpus
from tpu_lm.data.sources import files
from tpu_lm.models import decoder
from tpu_lm.schedules import infinite

include 'gin_configs/data/files.gin'
include 'gin_configs/schedules/infinite.gin'

phase.Run.name = 'soak'
phase.Run.model = @decoder.Decoder()
phase.Run.mesh = @sharding.Mesh()
phase.Run.phases = [@phase.Phase()]
decoder.Decoder.vocabulary = 259
decoder.Decoder.layers = 2
decoder.Decoder.embed = 32
decoder.Decoder.heads = 2
decoder.Decoder.kv_heads = 1
decoder.Decoder.head_dim = 16
decoder.Decoder.mlp = 64
phase.Phase.name = 'base'
phase.Phase.length = {steps}
phase.Phase.batch_size = 4
phase.Phase.sequence_length = 32
phase.Phase.save_every = {save_every}
phase.Phase.guard = @guard.Guard()
guard.Guard.spike = 'skip'
guard.Guard.most = 100
phase.Phase.evaluate = @phase.Evaluate()
phase.Evaluate.every = {save_every}
infinite.Infinite.peak = 1e-3
infinite.Infinite.constant = 5e-4
files.Files.path = '{text}'
corpus.Corpus.store_dir = '{stores}'
"""


def main() -> int:
  """Runs both, and prints what was found."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--steps', type=int, default=20_000)
  parser.add_argument('--save_every', type=int, default=200)
  parser.add_argument('--kill_every', type=int, default=1_500)
  parser.add_argument('--growth', type=float, default=20.0, help='in MB')
  parser.add_argument('--folder', type=pathlib.Path, help='to keep all in')
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    return soak(options, options.folder or pathlib.Path(folder))


def soak(options: argparse.Namespace, folder: pathlib.Path) -> int:
  """As `main`, in a folder."""
  gin = write_configuration(options, folder)
  samples: list[tuple[int, float, int]] = []
  began = time.monotonic()
  with progress() as bar:
    task = bar.add_task('undisturbed', total=options.steps)
    process = start(gin, folder / 'whole')
    while process.poll() is None:
      step = step_of(folder / 'whole')
      found = sample(process.pid)
      if step and found:
        samples.append((step, *found))
      bar.update(task, completed=step)
      time.sleep(0.2)
    finish(process)
    whole_seconds = time.monotonic() - began
    task = bar.add_task('killed', total=options.steps)
    kills = run_with_kills(options, gin, folder / 'killed', bar, task)
  killed_seconds = time.monotonic() - began - whole_seconds
  sys.path.insert(0, str(ROOT))
  from tpu_lm.same import compare

  same = compare(folder / 'whole', folder / 'killed')
  print(
    f'undisturbed: {options.steps:,} steps in {whole_seconds:.0f} s; with'
    f' {kills} kills: {killed_seconds:.0f} s'
  )
  good = same.difference is None
  print('identical' if good else f'different: {same.difference}')
  return int(not (flat(samples, options) and good))


def flat(samples, options: argparse.Namespace) -> bool:
  """Whether neither memory nor open files have grown; prints both."""
  memory, handles = [], []
  for tenth in range(10):
    low = tenth * options.steps / 10
    part = [s for s in samples if low < s[0] <= low + options.steps / 10]
    if not part:
      print('too short to tell whether memory is flat')
      return False
    memory.append(statistics.median(one[1] for one in part))
    handles.append(statistics.median(one[2] for one in part))
  print('memory in MB, medians by tenth:', *(f'{x:.0f}' for x in memory))
  print('open files, medians by tenth:', *(f'{x:.0f}' for x in handles))
  most = max(one[1] for one in samples), max(one[2] for one in samples)
  print(f'{len(samples)} samples; at most {most[0]:.0f} MB, {most[1]} files')
  grown = memory[-1] - memory[1] > options.growth
  return not grown and handles[-1] <= handles[1]


def write_configuration(options, folder: pathlib.Path) -> pathlib.Path:
  """Text to train on, and the gin file."""
  folder.mkdir(parents=True, exist_ok=True)
  chosen = random.Random(0)
  text = folder / 'text.jsonl'
  lines = (
    json.dumps({'text': ' '.join(chosen.choices(WORDS, k=60))})
    for _ in range(4_000)
  )
  text.write_text('\n'.join(lines), encoding='utf-8')
  gin = folder / 'soak.gin'
  gin.write_text(
    RUN.format(
      steps=options.steps,
      save_every=options.save_every,
      text=text,
      stores=folder / 'stores',
    )
  )
  return gin


def run_with_kills(options, gin, run_dir, bar, task) -> int:
  """Kills and starts again until the run is done; how often it was killed."""
  kills, due = 0, options.kill_every
  process = start(gin, run_dir)
  while process.poll() is None:
    step = step_of(run_dir)
    bar.update(task, completed=step)
    if due <= step < options.steps:
      process.send_signal(signal.SIGKILL)
      process.communicate()
      kills, due = kills + 1, due + options.kill_every
      process = start(gin, run_dir)
    time.sleep(0.05)
  finish(process)
  return kills


def start(gin: pathlib.Path, run_dir: pathlib.Path) -> subprocess.Popen:
  """Starts training, or goes on."""
  output = (run_dir.parent / 'output.txt').open('w')
  with output:
    return subprocess.Popen(
      [
        *(sys.executable, '-m', 'tpu_lm.cli', 'train'),
        *(f'--gin_file={gin}', f'--run_dir={run_dir}'),
      ],
      cwd=ROOT,
      env={**os.environ, 'PYTHONPATH': str(ROOT)},
      stdout=output,
      stderr=output,
    )


def finish(process: subprocess.Popen) -> None:
  """Makes sure that it came to its end."""
  if process.wait() != 0:
    command = ' '.join(process.args)
    raise SystemExit(f'{command} ended with {process.returncode}')


def step_of(run_dir: pathlib.Path) -> int:
  """The last step that the metrics know of; 0: none."""
  metrics = run_dir / 'metrics.jsonl'
  if not metrics.is_file():
    return 0
  with metrics.open('rb') as file:
    file.seek(max(0, metrics.stat().st_size - 2_000))
    lines = file.read().split(b'\n')[1:-1]  # the first may be half a line
  return json.loads(lines[-1])['step'] if lines else 0


def sample(pid: int) -> tuple[float, int] | None:
  """Resident memory in MB and open files; None: the process has ended."""
  try:
    pages = pathlib.Path(f'/proc/{pid}/statm').read_text().split()[1]
    handles = len(os.listdir(f'/proc/{pid}/fd'))
  except (FileNotFoundError, ProcessLookupError, IndexError):
    return None
  return int(pages) * os.sysconf('SC_PAGE_SIZE') / 1e6, handles


def progress() -> rich.progress.Progress:
  """Bars with the time left."""
  return rich.progress.Progress(
    rich.progress.TextColumn('{task.description:12}'),
    rich.progress.BarColumn(),
    rich.progress.MofNCompleteColumn(),
    rich.progress.TextColumn('left'),
    rich.progress.TimeRemainingColumn(),
  )


if __name__ == '__main__':
  sys.exit(main())
