"""`tpu-lm train`: trains a run, or goes on with it."""

import argparse
import contextlib
import pathlib
import sys
from collections.abc import Iterator, Sequence

from tpu_lm.checks import UserError
from tpu_lm.commands import report
from tpu_lm.commands.arguments import add_gin, keep_programs, quiet

HELP = 'train a run, or go on with it'
EXIT_STOPPED = 3
EXIT_TRY_AGAIN = 75  # EX_TEMPFAIL: the same command goes on


@contextlib.contextmanager
def _disk_troubles(run_dir: pathlib.Path) -> Iterator[None]:
  """A disk that is full or out of order is told in one line."""
  try:
    yield
  except OSError as error:
    raise UserError(
      f'--run_dir={run_dir}: {error}. What was saved before is whole: see to'
      ' the disk, and the same command goes on'
    ) from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of `train`."""
  add_gin(parser, required=True)
  parser.add_argument('--run_dir', type=pathlib.Path, help='made if it is new')
  parser.add_argument(
    '--dry_run', action='store_true', help='check, print the tree, and stop'
  )
  parser.add_argument(
    '--stop_after',
    type=int,
    metavar='STEPS',
    help='save and stop after so many steps, as SIGTERM would',
  )
  several = parser.add_argument_group(
    'several processes',
    'Found by themselves on TPU pods, GKE, SLURM and Open MPI. Elsewhere every'
    ' process gets the same command, and these:',
  )
  several.add_argument(
    '--coordinator', metavar='HOST:PORT', help='of process 0, free there'
  )
  several.add_argument('--processes', type=int, help='how many there are')
  several.add_argument('--process', type=int, help='which one this is, from 0')


def run(options: argparse.Namespace, bindings: Sequence[str]) -> int:
  """Trains, and writes the report."""
  if options.run_dir is None and not options.dry_run:
    raise UserError('--run_dir: where the run shall live is missing')
  if '://' in str(options.run_dir) or ':/' in str(options.run_dir):
    raise UserError(
      f'--run_dir={options.run_dir}: runs live in local folders only'
    )
  if options.stop_after is not None and options.stop_after < 1:
    raise UserError(f'--stop_after={options.stop_after}: must be at least 1')
  quiet()
  keep_programs()
  from tpu_lm import config, processes

  if not options.dry_run:
    processes.join(options.coordinator, options.processes, options.process)
  with processes.together():
    loaded = config.load(options.gin_file, bindings)
  for name in loaded.unused:
    print(f'note: nothing uses the binding {name}', file=sys.stderr)
  if options.dry_run:
    from tpu_lm.prepare import check
    from tpu_lm.stages import describe

    folder = options.run_dir or pathlib.Path('no_such_folder')
    print(describe(loaded.run, check(loaded.run, folder)))
    return 0
  from tpu_lm.interrupt import Interrupted
  from tpu_lm.loop import train
  from tpu_lm.step_reports import Stopped

  if processes.primary():
    print(loaded.operative)
  try:
    run_dir, limit = options.run_dir, options.stop_after
    with (
      processes.ending_all(Interrupted, Stopped),
      _disk_troubles(run_dir),
    ):
      train(loaded.run, run_dir, loaded.operative, limit)
  except Interrupted as interrupted:
    print(f'tpu-lm: {interrupted}', file=sys.stderr)
    return EXIT_TRY_AGAIN
  except Stopped as stopped:
    print(f'tpu-lm: {stopped}', file=sys.stderr)
    return EXIT_STOPPED
  return report.run(options, ()) if processes.primary() else 0
