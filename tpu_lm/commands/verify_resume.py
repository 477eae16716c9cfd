"""`tpu-lm verify-resume`: whether a stopped run ends with the same bits.

Trains 2K steps at once, and K and K more in two processes, and compares all
arrays, ledgers and metrics.
"""

import argparse
import pathlib
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from tpu_lm.checks import UserError
from tpu_lm.commands.arguments import add_gin, quiet
from tpu_lm.commands.train import EXIT_TRY_AGAIN

HELP = 'train a little with and without a stop, and compare bit for bit'
EXIT_DIFFERENT = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of `verify-resume`."""
  add_gin(parser, required=True)
  parser.add_argument(
    '--steps', type=int, default=5, help='K, before and after the stop'
  )
  parser.add_argument(
    '--keep', type=pathlib.Path, help='a new folder to keep both runs in'
  )


def run(options: argparse.Namespace, bindings: Sequence[str]) -> int:
  """Trains three times in processes of their own, and compares."""
  quiet()
  from tpu_lm import config

  if options.steps < 1:
    raise UserError(f'--steps={options.steps}: must be at least 1')
  if options.keep is not None and options.keep.exists():
    raise UserError(f'--keep={options.keep}: is there already')
  loaded = config.load(options.gin_file, bindings)
  there = sum(phase.steps for phase in loaded.run.phases)
  if there < 2 * options.steps:
    raise UserError(
      f'--steps={options.steps}: twice that is more than the {there} steps of'
      ' the run'
    )
  with tempfile.TemporaryDirectory() as folder:
    folder = options.keep or pathlib.Path(folder)
    whole, stopped = folder / 'whole', folder / 'stopped'
    for into, steps, told in (
      (whole, 2 * options.steps, 'at once'),
      (stopped, options.steps, 'and stopped'),
      (stopped, options.steps, 'after the stop'),
    ):
      print(f'{steps} steps {told} ...', flush=True)
      _train(options, bindings, into, steps)
    return _compare(whole, stopped)


def _train(
  options: argparse.Namespace,
  bindings: Sequence[str],
  folder: pathlib.Path,
  steps: int,
) -> None:
  command = [sys.executable, '-m', 'tpu_lm.cli', 'train']
  command += [f'--gin_file={file}' for file in options.gin_file]
  command += [f'--gin.{binding}' for binding in bindings]
  command += [f'--run_dir={folder}', f'--stop_after={steps}']
  done = subprocess.run(
    command,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    check=False,
  )
  if done.returncode not in (0, EXIT_TRY_AGAIN):
    print('\n'.join(done.stdout.splitlines()[-20:]), file=sys.stderr)
    raise UserError(f'{shlex.join(command)} ended with an error')


def _compare(whole: pathlib.Path, stopped: pathlib.Path) -> int:
  from tpu_lm.same import compare

  found = compare(whole, stopped)
  if found.difference is not None:
    print(f'different: {found.difference}')
    return EXIT_DIFFERENT
  print(
    f'identical: {found.arrays} arrays of {found.phases} phases at step'
    f' {found.step}, ledgers and metrics'
  )
  return 0
