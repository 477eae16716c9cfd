"""Whether two run folders hold the same, bit for bit."""

import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tpu_lm.checkpoint import Checkpoints
from tpu_lm.lineage import read_lineage

# Of a lineage: what depends on the run's name in the world, not on its course.
_INCIDENTAL = ('run', 'parent')


class Same(NamedTuple):
  """What two runs have in common.

  Attributes:
    difference: the first that was found, as a line; None: there is none.
    phases: that were compared.
    arrays: that were compared.
    step: of the last checkpoint.
  """

  difference: str | None
  phases: int = 0
  arrays: int = 0
  step: int = 0


def compare(one: pathlib.Path, other: pathlib.Path) -> Same:
  """Compares the newest checkpoint of each phase, ledgers and metrics.

  Args:
    one: a run folder.
    other: another, of the same configuration.
  """
  names = [_phases(folder) for folder in (one, other)]
  if names[0] != names[1]:
    return Same(f'phases: {", ".join(names[0])} against {", ".join(names[1])}')
  compared, step = 0, 0
  for name in names[0]:
    places = [folder / 'phases' / name for folder in (one, other)]
    stores = [Checkpoints(place / 'checkpoints') for place in places]
    steps = [store.steps()[-1:] for store in stores]
    if steps[0] != steps[1] or not steps[0]:
      return Same(f'{name}: checkpoints of step {steps[0]} against {steps[1]}')
    (step,) = steps[0]
    arrays = [store.arrays(step) for store in stores]
    for line in _differences(*arrays):
      return Same(f'{name}, step {step}: {line}')
    compared += len(arrays[0])
    told = [read_lineage(p / 'lineage.json').to_json() for p in places]
    for key in sorted(told[0].keys() | told[1].keys()):
      values = [lineage.get(key) for lineage in told]
      if key not in _INCIDENTAL and values[0] != values[1]:
        return Same(f'{name}, lineage.json: {key} differs')
  metrics = [_lines(folder) for folder in (one, other)]
  for number, (left, right) in enumerate(zip(*metrics), start=1):
    if left != right:
      return Same(f'metrics.jsonl, line {number}: {left} against {right}')
  if len(metrics[0]) != len(metrics[1]):
    lengths = ' against '.join(str(len(lines)) for lines in metrics)
    return Same(f'metrics.jsonl: {lengths} lines')
  return Same(None, len(names[0]), compared, step)


def _phases(folder: pathlib.Path) -> list[str]:
  phases = folder / 'phases'
  return sorted(p.name for p in phases.iterdir()) if phases.is_dir() else []


def _lines(folder: pathlib.Path) -> list[str]:
  return (folder / 'metrics.jsonl').read_text().splitlines()


def _differences(
  one: dict[str, np.ndarray], other: dict[str, np.ndarray]
) -> Iterator[str]:
  """A line for each array that is not the same, parameters first."""
  missing = one.keys() ^ other.keys()
  for name in sorted(missing):
    yield f'{name} is in one of them only'
  for name, left in one.items():
    if name in missing:
      continue
    right = other[name]
    if left.dtype != right.dtype or left.shape != right.shape:
      kinds = [f'{x.dtype}{list(x.shape)}' for x in (left, right)]
      yield f'{name}: {kinds[0]} against {kinds[1]}'
    elif left.tobytes() != right.tobytes():
      unequal = np.mean(left != right)
      largest = np.max(np.abs(np.float64(left) - np.float64(right)))
      yield f'{name}: {unequal:.1%} differ, by {largest:.3g} at the most'
