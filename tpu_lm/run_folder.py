"""What a run folder says of its run: run.json, config.gin, parameters.txt."""

import contextlib
import fcntl
import json
import pathlib
import time
import uuid
from collections.abc import Iterator

import jax

from tpu_lm.checks import UserError
from tpu_lm.lineage import (
  definition,
  differences,
  with_defaults,
  write_json,
)
from tpu_lm.phase import Run
from tpu_lm.processes import from_primary, primary, together
from tpu_lm.sharding import state_shardings
from tpu_lm.tree import Tree, count, is_axes, named_paths

FORMAT = 1
DAMAGED = 'is damaged, so put it back or use another run_dir'
SECONDS_TO_APPEAR = 60  # network disks show new files late


def check_identity(run: Run, run_dir: pathlib.Path) -> None:
  """UserError if the folder holds another run, or something else."""
  known = _read(run_dir)
  if known is None:
    if run_dir.exists() and not run_dir.is_dir():
      raise UserError(f'--run_dir={run_dir}: is not a folder')
    # A dot begins the names of our own leftovers.
    if any(not path.name.startswith('.') for path in run_dir.glob('*')):
      raise UserError(
        f'--run_dir={run_dir}: is not empty, and holds no run (run.json)'
      )
    return
  was = with_defaults(known['model'], run.model)
  lines = differences(was, definition(run.model), 'Run.model')
  lines += differences(known['seed'], run.seed, 'Run.seed')
  if lines:
    raise UserError(
      f'--run_dir={run_dir} holds another run ({"; ".join(lines)}): '
      'use another folder'
    )


@contextlib.contextmanager
def locked(run_dir: pathlib.Path) -> Iterator[None]:
  """Makes the folder and holds it: two runs would mix up its files."""
  with contextlib.ExitStack() as held:
    with together():
      if primary():
        run_dir.mkdir(parents=True, exist_ok=True)
        file = held.enter_context((run_dir / '.lock').open('w'))
        try:
          fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
          raise UserError(
            f'--run_dir={run_dir}: another process is training in it'
          ) from None
    yield


def identify(run: Run, run_dir: pathlib.Path, mesh, config: str) -> str:
  """Writes what the folder holds, or knows it again; returns the run's id."""
  known = _read(run_dir)
  identity = from_primary(known['run'] if known else uuid.uuid4().hex[:12])
  if primary():
    _describe(run, run_dir, mesh, config, identity)
  with together():
    _check_shared(run_dir, identity)
  return identity


def _describe(
  run: Run, run_dir: pathlib.Path, mesh, config: str, identity: str
) -> None:
  axes = run.model.axes()
  params = jax.eval_shape(run.model.init, jax.random.key(0))
  write_json(
    run_dir / 'run.json',
    {
      'format': FORMAT,
      'run': identity,
      'name': run.name,
      'seed': run.seed,
      'parameters': count(params),
      'model': definition(run.model),
    },
  )
  (run_dir / 'config.gin').write_text(config, encoding='utf-8')
  places = state_shardings(mesh, axes, params, params)
  table = parameter_table(params, axes, places)
  (run_dir / 'parameters.txt').write_text(table, encoding='utf-8')


def _check_shared(run_dir: pathlib.Path, identity: str) -> None:
  """UserError unless this process sees what the primary one has written."""
  deadline = time.monotonic() + SECONDS_TO_APPEAR
  while (_read(run_dir) or {}).get('run') != identity:
    if primary() or time.monotonic() > deadline:
      raise UserError(
        f'--run_dir={run_dir}: is not seen by all processes; it must be on a'
        ' disk that they share, such as NFS or Filestore'
      )
    time.sleep(0.5)


def parameter_table(params: Tree, axes: Tree, shardings: Tree) -> str:
  """A table of parameters: name, named dimensions, dtype, count, sharding.

  Args:
    params: nested dicts of arrays or of shapes with dtypes.
    axes: the same structure, leaves tuples of logical axis names.
    shardings: the same structure, leaves `jax.sharding.NamedSharding`.

  Returns:
    Text with one row a parameter and a total.
  """
  names = named_paths(axes, is_axes)
  placed = named_paths(shardings)
  rows = [('parameter', 'dimensions', 'dtype', 'elements', 'sharding')]
  for name, leaf in named_paths(params).items():
    dims = ', '.join(f'{a}={n}' for a, n in zip(names[name], leaf.shape))
    spec = ', '.join(str(part) for part in placed[name].spec)
    rows.append((name, dims, str(leaf.dtype), f'{leaf.size:,}', f'({spec})'))
  rows.append(('total', '', '', f'{count(params):,}', ''))
  widths = [max(len(row[column]) for row in rows) for column in range(5)]
  return '\n'.join(
    '  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
    for row in rows
  )


def _read(run_dir: pathlib.Path) -> dict | None:
  path = run_dir / 'run.json'
  if not path.is_file():
    return None
  try:
    known = json.loads(path.read_text(encoding='utf-8'))
  except (RecursionError, ValueError) as error:
    raise UserError(f'{path} {DAMAGED}: {error}') from error
  told = {'run', 'model', 'seed'}
  if not isinstance(known, dict) or not known.keys() >= told:
    raise UserError(f'{path} {DAMAGED}: it does not say which run it is of')
  if known.get('format') != FORMAT:
    raise UserError(
      f'{path}: of format {known.get("format")}, this version reads {FORMAT}'
    )
  return known
