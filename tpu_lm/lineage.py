"""What a checkpoint says of itself: which run, phase and parent it is of.

A lineage travels in every checkpoint and lies as `lineage.json` beside the
phase's checkpoints, so that a tree of phases can be drawn, and forgetting
measured, from the files alone.
"""

import dataclasses
import json
import os
import pathlib
from typing import Any

from tpu_lm.checks import UserError, read_fields

FORMAT = 2  # 1 had no rows skipped in its ledgers
DAMAGED = 'lineage: is damaged, so put its file back or use another run_dir'
TRUNK, ANNEALED = 'trunk', 'annealed'
RUNNING, DONE = 'running', 'done'


@dataclasses.dataclass(frozen=True)
class Parent:
  """Where a phase began: a checkpoint of `phase` at `step`.

  `learning_rate` is the last one the parent used; `path` the parent's folder
  where it lies outside this run's, else None.
  """

  phase: str
  step: int
  learning_rate: float
  path: str | None = None


@dataclasses.dataclass(frozen=True)
class Lineage:
  """The descent and the contents of one phase's latest checkpoint.

  Attributes:
    run: id of the run folder.
    phase: the phase's name.
    parent: where it began, None for random weights.
    kind: `trunk` (training may go on from here) or `annealed` (the learning
      rate was brought down; a model to use, not to continue).
    status: `running` or `done`.
    start_step: steps along the lineage at the phase's entry.
    end_step: the same at this checkpoint.
    start_tokens: tokens read along the lineage at the entry.
    end_tokens: the same at this checkpoint.
    learning_rate: the last one used, None before the first step.
    entry_ledger: the ledger (JSON) at the entry.
    ledger: the ledger (JSON) at this checkpoint.
    ancestors: entry and end ledgers of each phase above, by name.
    definition: the phase as configured, see `definition`.
  """

  run: str
  phase: str
  parent: Parent | None
  kind: str
  status: str
  start_step: int
  end_step: int
  start_tokens: int
  end_tokens: int
  learning_rate: float | None
  entry_ledger: dict
  ledger: dict
  ancestors: dict[str, dict]
  definition: dict

  def to_json(self) -> dict:
    """Plain JSON values, with the format's number."""
    return {'format': FORMAT, **dataclasses.asdict(self)}

  @classmethod
  def from_json(cls, value: dict) -> 'Lineage':
    """The inverse of `to_json`; UserError for a newer format or damage."""
    if not isinstance(value, dict):
      raise UserError(f'{DAMAGED}: it is no object')
    if value.get('format') not in range(1, FORMAT + 1):
      raise UserError(
        f'lineage of format {value.get("format")}: this version reads up to'
        f' {FORMAT}'
      )
    fields = {k: v for k, v in value.items() if k != 'format'}
    try:
      parent = fields['parent'] and read_fields(Parent, fields['parent'])
      return read_fields(cls, {**fields, 'parent': parent})
    except (KeyError, TypeError) as error:
      raise UserError(f'{DAMAGED}: {error!r}') from error


def read_lineage(path: pathlib.Path) -> Lineage:
  """What a `lineage.json` holds.

  Raises:
    UserError: it is damaged.
  """
  try:
    return Lineage.from_json(json.loads(path.read_text(encoding='utf-8')))
  except UserError as error:
    raise UserError(f'{path}: {error}') from error
  except (RecursionError, ValueError) as error:
    raise UserError(f'{path}: {DAMAGED}: {error}') from error


def definition(value: Any) -> Any:
  """A configured object as plain JSON: dataclasses become dicts with 'class'.

  Two objects have equal definitions if and only if they were configured
  equally, so definitions are what is compared when a phase is started again.
  """
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    fields = {
      field.name: definition(getattr(value, field.name))
      for field in dataclasses.fields(value)
    }
    return {'class': type(value).__name__, **fields}
  if isinstance(value, dict):
    return {str(key): definition(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [definition(item) for item in value]
  assert value is None or isinstance(value, (bool, int, float, str)), value
  return value


def with_defaults(was: Any, now: Any) -> Any:
  """An older definition, with the fields that its version did not have.

  A new field's default means what was done before there was the field.

  Args:
    was: a definition.
    now: an object of the same class, if nothing else has changed.
  """
  if isinstance(was, dict) and dataclasses.is_dataclass(now):
    if was.get('class') != type(now).__name__:
      return was
    filled = dict(was)
    for field in dataclasses.fields(now):
      value = getattr(now, field.name)
      if field.name in was:
        filled[field.name] = with_defaults(was[field.name], value)
      elif field.default is not dataclasses.MISSING:
        filled[field.name] = definition(field.default)
      elif field.default_factory is not dataclasses.MISSING:
        filled[field.name] = definition(field.default_factory())
    return filled
  if isinstance(was, dict) and isinstance(now, dict):
    by_name = {str(key): value for key, value in now.items()}
    return {k: with_defaults(v, by_name.get(k)) for k, v in was.items()}
  if isinstance(was, list) and isinstance(now, list | tuple):
    padded = (*now, *[None] * len(was))
    return [with_defaults(v, other) for v, other in zip(was, padded)]
  return was


def differences(was: Any, now: Any, key: str = '') -> list[str]:
  """Where two definitions differ: 'Phase.batch_size: was 8, is now 16'."""
  if isinstance(was, dict) and isinstance(now, dict):
    name = now.get('class', key)
    if was.get('class') == now.get('class'):
      lines = []
      for field in sorted(was.keys() | now.keys()):
        inner = f'{name}.{field}' if name else field
        lines += differences(was.get(field), now.get(field), inner)
      return lines
  if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
    return [
      line
      for index, pair in enumerate(zip(was, now))
      for line in differences(*pair, f'{key}[{index}]')
    ]
  return [] if was == now else [f'{key}: was {was!r}, is now {now!r}']


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes a JSON file whole or not at all."""
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f'.{path.name}.{os.getpid()}')
  with temporary.open('w', encoding='utf-8') as file:
    json.dump(value, file, indent=1)
    file.flush()
    os.fsync(file.fileno())
  temporary.replace(path)
