"""`tpu-lm checkpoints`: what a run folder holds to go on from."""

import argparse
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tpu_lm.checks import UserError, nearest
from tpu_lm.commands.arguments import quiet

if TYPE_CHECKING:
  from tpu_lm.checkpoint import Checkpoints

HELP = 'list the checkpoints of a run, verify them, pin them'
EXIT_DAMAGED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of `checkpoints`."""
  parser.add_argument('run_dir', type=pathlib.Path)
  parser.add_argument(
    '--verify', action='store_true', help='read every array, and compare'
  )
  for name, what in (('pin', 'is always kept'), ('unpin', 'no longer is')):
    parser.add_argument(
      f'--{name}',
      metavar='PHASE/STEP',
      action='append',
      default=[],
      help=f'this one {what}, whatever Run.checkpoints says',
    )


def run(options: argparse.Namespace, bindings: Sequence[str]) -> int:
  """Prints a table; exits with 1 if a checkpoint is damaged."""
  del bindings  # it takes no gin files
  quiet()
  os.environ['JAX_PLATFORMS'] = 'cpu'  # a run may be using the accelerators
  import rich.console
  from rich.box import SIMPLE_HEAD
  from rich.table import Table

  from tpu_lm.checkpoint import Checkpoints

  phases = options.run_dir / 'phases'
  folders = {
    path.parent.name: Checkpoints(path)
    for path in sorted(phases.glob('*/checkpoints'))
  }
  if not folders:
    raise UserError(f'{options.run_dir}: is no run folder with a checkpoint')
  for text in (*options.pin, *options.unpin):
    _check(text, folders)
  for text in (*options.pin, *options.unpin):
    phase, step = text.split('/')
    folders[phase].pin(int(step), text in options.pin)
  table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
  for name in ('phase', 'from', 'kind', 'is'):
    table.add_column(name, no_wrap=name != 'is', min_width=8)
  for name in ('step', 'tokens', 'loss', 'MB', 'saved'):
    table.add_column(name, justify='right', no_wrap=True)
  damaged = 0
  for name, checkpoints in folders.items():
    for step in checkpoints.steps():
      try:
        cells, good = _row(checkpoints, step, options.verify)
      except (FileNotFoundError, UserError):
        if step in checkpoints.steps():
          raise
        continue  # the run has deleted it meanwhile
      if not good and step not in checkpoints.steps():
        continue
      table.add_row(name, *cells)
      damaged += not good
    for path in checkpoints.directory.glob('*.damaged'):
      place, empty = path.name.removesuffix('.damaged'), [''] * 2
      table.add_row(name, *empty, 'set aside as damaged', place, *empty, '', '')
  console = rich.console.Console()
  if not console.is_terminal:
    console.width = 120
  console.print(table)
  if options.verify:
    print(f'{damaged} damaged' if damaged else 'all are what was saved')
  return EXIT_DAMAGED if damaged else 0


def _check(text: str, folders: dict[str, 'Checkpoints']) -> None:
  phase, _, step = text.partition('/')
  if phase not in folders:
    raise UserError(f'{text!r}: is no PHASE/STEP.{nearest(phase, folders)}')
  steps = folders[phase].steps()
  if step not in map(str, steps):
    raise UserError(f'{text!r}: {phase} has checkpoints of the steps {steps}')


def _row(
  checkpoints: 'Checkpoints', step: int, verify: bool
) -> tuple[list[str], bool]:
  """The cells of a checkpoint, its phase left out; and whether it is good."""
  import datetime

  from tpu_lm.checkpoint_folder import COMMITTED, Damaged
  from tpu_lm.lineage import Lineage

  path = checkpoints.path(step)
  size = sum(one.stat().st_size for one in path.rglob('*') if one.is_file())
  saved = datetime.datetime.fromtimestamp((path / COMMITTED).stat().st_mtime)
  last = [f'{size / 1e6:,.1f}', f'{saved:%d %b %H:%M}']
  try:
    record = checkpoints.record(step)
    if verify:
      checkpoints.arrays(step)
  except Damaged as error:
    why = str(error).partition('is damaged: ')[2]
    told = ['', '', f'damaged: {why}', f'{step:,}', '', '', *last]
    return told, False
  lineage = Lineage.from_json(record['lineage'])
  marks = [lineage.status]
  marks += ['pinned'] if step in checkpoints.pinned() else []
  if verify:
    marks.append('verified' if 'arrays' in record else 'no checksums')
  metrics = record.get('metrics', {})
  losses = [v for k, v in metrics.items() if k.startswith('validation/loss/')]
  mean = f'{sum(losses) / len(losses):.3f}' if losses else ''
  parent = lineage.parent
  origin = f'{parent.path or parent.phase}@{parent.step}' if parent else ''
  told = [origin, lineage.kind, ', '.join(marks)]
  return [*told, f'{step:,}', f'{lineage.end_tokens:,}', mean, *last], True
