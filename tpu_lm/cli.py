"""The command line: `tpu-lm train ...`. Heavy imports wait for the command."""

import argparse
import os
import pathlib
import sys

from tpu_lm.checks import UserError

EXIT_MISTAKE = 2
EXIT_STOPPED = 3
EXIT_TRY_AGAIN = 75  # EX_TEMPFAIL: the same command goes on

DESCRIPTION = """\
Pretrain language models in JAX, and keep pretraining them.

  tpu-lm train --gin_file=F [--gin_file=G] [--gin.NAME=VALUE] --run_dir=D
      trains the tree of phases that F configures; the same command again goes
      on where it stopped
  tpu-lm train ... --dry_run
      checks all but the data and prints the tree, trains nothing
  tpu-lm report D
      writes the report of the run in D again, and prints its table
"""


def main(arguments: list[str] | None = None) -> int:
  """Runs one command; returns the exit code."""
  parser = _parser()
  options, rest = parser.parse_known_args(arguments)
  bindings = [text.removeprefix('--gin.') for text in rest]
  unknown = [text for text in rest if not text.startswith('--gin.')]
  if unknown or (rest and options.command != 'train'):
    parser.error(f'unknown argument: {(unknown or rest)[0]}')
  try:
    if options.command == 'train':
      return _train(options, bindings)
    return _report(options.run_dir)
  except (UserError, PermissionError, NotADirectoryError) as error:
    print(f'tpu-lm: {error}', file=sys.stderr)
    return EXIT_MISTAKE


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    'tpu-lm',
    description=DESCRIPTION,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  commands = parser.add_subparsers(dest='command', required=True)
  train = commands.add_parser(
    'train',
    help='train a run, or go on with it',
    epilog='--gin.NAME=VALUE overrides a binding of the gin files',
    allow_abbrev=False,
  )
  train.add_argument(
    '--gin_file', action='append', required=True, help='may be repeated'
  )
  train.add_argument('--run_dir', type=pathlib.Path, help='made if it is new')
  train.add_argument(
    '--dry_run', action='store_true', help='check, print the tree, and stop'
  )
  report = commands.add_parser('report', help='write the report of a run')
  report.add_argument('run_dir', type=pathlib.Path)
  return parser


def _train(options: argparse.Namespace, bindings: list[str]) -> int:
  if options.run_dir is None and not options.dry_run:
    raise UserError('--run_dir: where the run shall live is missing')
  if '://' in str(options.run_dir) or ':/' in str(options.run_dir):
    raise UserError(
      f'--run_dir={options.run_dir}: runs live in local folders only'
    )
  # TensorFlow, imported by seqio while a store is built, and jax's compiler
  # fill the terminal otherwise.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  from tpu_lm import config

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
  from tpu_lm.loop import Stopped, train

  print(loaded.operative)
  try:
    train(loaded.run, options.run_dir, loaded.operative)
  except Interrupted as interrupted:
    print(f'tpu-lm: {interrupted}', file=sys.stderr)
    return EXIT_TRY_AGAIN
  except Stopped as stopped:
    print(f'tpu-lm: {stopped}', file=sys.stderr)
    return EXIT_STOPPED
  return _report(options.run_dir)


def _report(run_dir: pathlib.Path) -> int:
  import rich.console

  from tpu_lm import report

  page = report.write_report(run_dir)
  rich.console.Console().print(report.summary_table(run_dir))
  print(f'report: {page}')
  return 0


if __name__ == '__main__':
  sys.exit(main())
