"""The command line: `tpu-lm train ...`. Heavy imports wait for the command."""

import argparse
import errno
import sys

from tpu_lm.checks import UserError, one_line
from tpu_lm.commands import (
  cache,
  checkpoints,
  data,
  plan,
  report,
  tokenizer,
  train,
  verify_resume,
)
from tpu_lm.commands.arguments import GIN_EPILOG

EXIT_MISTAKE = 2
# What a disk refuses is no mistake of this code.
OF_THE_DISK = {
  errno.EACCES,
  errno.EDQUOT,
  errno.EISDIR,
  errno.ELOOP,
  errno.ENAMETOOLONG,
  errno.ENOSPC,
  errno.ENOTDIR,
  errno.EPERM,
  errno.EROFS,
}
COMMANDS = {
  'train': train,
  'plan': plan,
  'report': report,
  'checkpoints': checkpoints,
  'verify-resume': verify_resume,
  'data': data,
  'cache': cache,
  'tokenizer': tokenizer,
}

DESCRIPTION = """\
Pretrain language models in JAX, and keep pretraining them.

  tpu-lm train --gin_file=F [--gin_file=G] [--gin.NAME=VALUE] --run_dir=D
      trains the tree of phases that F configures; the same command again goes
      on where it stopped
  tpu-lm train ... --dry_run
      checks all but the data and prints the tree, trains nothing
  tpu-lm plan --gin_file=F [--topology=v5p:4x4x8] [--search]
      shows what a run will read, and what its step needs on a TPU slice that
      need not be there
  tpu-lm verify-resume --gin_file=F [--steps=K]
      trains 2K steps, and K and K more, and says whether they are identical
  tpu-lm checkpoints D [--verify] [--pin=PHASE/STEP]
      lists what the run in D can go on from, and tells what is damaged
  tpu-lm report D
      writes the report of the run in D again, and prints its table

  tpu-lm data [MIXTURE] --gin_file=F
      shows what a run will read: tokens, epochs, lengths, packed rows
  tpu-lm cache [MIXTURE] --gin_file=F
      builds the token stores of a run ahead of time, with several processes or
      with Apache Beam
  tpu-lm tokenizer train [MIXTURE] --gin_file=F --output=NAME.model
      trains a SentencePiece vocabulary on a sample of a mixture
"""


def main(arguments: list[str] | None = None) -> int:
  """Runs one command; returns the exit code."""
  parser = _parser()
  arguments = sys.argv[1:] if arguments is None else arguments
  arguments, passed_on = _cut(arguments)
  # argparse takes one with a space in it for a name.
  bound = [text for text in arguments if text.startswith('--gin.')]
  arguments = [text for text in arguments if not text.startswith('--gin.')]
  options, unknown = parser.parse_known_args(arguments)
  options.passed_on = passed_on
  if hasattr(options, 'mixture'):  # argparse misses names after options
    options.mixture += [text for text in unknown if text[:1] != '-']
    unknown = [text for text in unknown if text[:1] == '-']
  unknown += [] if hasattr(options, 'gin_file') else bound
  if unknown:
    parser.error(one_line(f'unknown argument: {unknown[0]}'))
  bindings = [text.removeprefix('--gin.') for text in bound]
  if passed_on and options.command != 'cache':
    parser.error(one_line(f'unknown argument: {passed_on[0]}'))
  try:
    return COMMANDS[options.command].run(options, bindings)
  except (UserError, OSError) as error:
    if isinstance(error, OSError) and error.errno not in OF_THE_DISK:
      raise
    print(f'tpu-lm: {one_line(str(error))}', file=sys.stderr)
    return EXIT_MISTAKE


def _cut(arguments: list[str]) -> tuple[list[str], list[str]]:
  """Ours, and those after `--` that are passed on as they are."""
  if '--' not in arguments:
    return arguments, []
  place = arguments.index('--')
  return arguments[:place], arguments[place + 1 :]


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    'tpu-lm',
    description=DESCRIPTION,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  commands = parser.add_subparsers(dest='command', required=True)
  for name, module in COMMANDS.items():
    command = commands.add_parser(
      name,
      help=module.HELP,
      description=module.__doc__,
      allow_abbrev=False,
      formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(command)
    if any(action.dest == 'gin_file' for action in command._actions):
      command.epilog = GIN_EPILOG
  return parser


if __name__ == '__main__':
  sys.exit(main())
