"""Files of a run folder, read for a report; what is damaged is noted."""

import json
import math
import pathlib
from typing import Any

from tpu_lm.checks import fits

UNREADABLE = (
  AttributeError,
  KeyError,
  OverflowError,
  RecursionError,
  TypeError,
  ValueError,
)


_LEDGER = {'tokens': dict[str, int]}
# What is looked at in a lineage; each part may be missing or null.
_LINEAGE = {
  'phase': str,
  'kind': str,
  'status': str,
  'start_step': int,
  'end_step': int,
  'start_tokens': int,
  'end_tokens': int,
  'learning_rate': float,
  'parent': {'phase': str, 'step': int, 'path': str},
  'entry_ledger': _LEDGER,
  'ledger': _LEDGER,
  'definition': {
    'mixture': {'weights': dict[str, Any], 'changes': dict[str, dict]}
  },
}


def read_json(path: pathlib.Path, notes: list[str]) -> dict | None:
  """A JSON object; None, and a note, where it can't be read."""
  try:
    value = json.loads(path.read_text(encoding='utf-8'))
    if not isinstance(value, dict):
      raise ValueError('no object')
    return value
  except (OSError, RecursionError, ValueError) as error:
    notes.append(f'{path.name} of {path.parent.name} is unreadable: {error}')
    return None


def read_lineage(path: pathlib.Path, notes: list[str]) -> dict | None:
  """A `lineage.json`; None, and a note, where it can't be read."""
  lineage = read_json(path, notes)
  if lineage and not _sound(lineage, _LINEAGE):
    notes.append(f'{path.name} of {path.parent.name} is damaged')
    return None
  return lineage


def _sound(value: Any, shape: Any) -> bool:
  if not isinstance(shape, dict):
    return value is None or fits(value, shape)
  return value is None or (
    isinstance(value, dict)
    and all(_sound(value.get(key), inner) for key, inner in shape.items())
  )


def read_metrics(path: pathlib.Path, notes: list[str]):
  """{phase: {metric: {step: value}}} and {phase: {step: tokens}}.

  A step written twice (a resumed phase) keeps its later value.
  """
  metrics: dict[str, dict[str, dict[int, float]]] = {}
  tokens: dict[str, dict[int, int]] = {}
  lines = path.read_bytes().split(b'\n') if path.exists() else []
  for number, line in enumerate(lines, 1):
    if not line:
      continue
    try:
      point = json.loads(line)
      phase, metric, step = point['phase'], point['name'], int(point['step'])
      value = math.nan if point['value'] is None else float(point['value'])
      read = int(point.get('tokens') or 0)
      metrics.setdefault(phase, {}).setdefault(metric, {})[step] = value
      tokens.setdefault(phase, {})[step] = read
    except UNREADABLE:
      notes.append(f'{path.name}: line {number} is unreadable and left out')
      continue
  return metrics, tokens
