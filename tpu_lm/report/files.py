"""Files of a run folder, read for a report; what is damaged is noted."""

import json
import math
import pathlib


def read_json(path: pathlib.Path, notes: list[str]) -> dict | None:
  """A JSON file; None, and a note, where it can't be read."""
  try:
    return json.loads(path.read_text())
  except (OSError, ValueError) as error:
    notes.append(f'{path.name} of {path.parent.name} is unreadable: {error}')
    return None


def read_metrics(path: pathlib.Path, notes: list[str]):
  """{phase: {metric: {step: value}}} and {phase: {step: tokens}}.

  A step written twice (a resumed phase) keeps its later value.
  """
  metrics: dict[str, dict[str, dict[int, float]]] = {}
  tokens: dict[str, dict[int, int]] = {}
  lines = path.read_text().split('\n') if path.exists() else []
  for number, line in enumerate(lines, 1):
    if not line:
      continue
    try:
      point = json.loads(line)
      phase, metric, step = point['phase'], point['name'], int(point['step'])
      value = math.nan if point['value'] is None else float(point['value'])
    except (ValueError, TypeError, KeyError):
      notes.append(f'{path.name}: line {number} is unreadable and left out')
      continue
    metrics.setdefault(phase, {}).setdefault(metric, {})[step] = value
    tokens.setdefault(phase, {})[step] = int(point.get('tokens') or 0)
  return metrics, tokens
