"""Compares the arms of a run over seeds: means, intervals, differences.

  python scripts/benchmarks/seeds.py runs/seed0 runs/seed1 runs/seed2

Each folder is a finished run of the same configuration under its own seed.
An interval is 95 %, by Student's t over the seeds; differences are between
arms of the same seed, so what the seeds share cancels.
"""

import itertools
import pathlib
import sys

import numpy as np
import scipy.stats

from tpu_lm.report.measures import find_arms
from tpu_lm.report.record import read_run

MEASURES = {
  'average loss': lambda arm: arm.average,
  'forgetting': lambda arm: np.mean(list(arm.forgetting.values())),
  'largest gap': lambda arm: arm.largest_gap.peak,
  'forward transfer': lambda arm: arm.forward,
}


def main() -> None:
  """Prints a line for each arm, and for each pair of arms, of each measure."""
  folders = [pathlib.Path(name) for name in sys.argv[1:]]
  if len(folders) < 2:
    sys.exit('usage: seeds.py RUN_DIR RUN_DIR [RUN_DIR ...]')
  seeds = [{arm.name: arm for arm in find_arms(read_run(f))} for f in folders]
  names = list(seeds[0])
  for title, measure in MEASURES.items():
    values = {n: np.array([measure(arms[n]) for arms in seeds]) for n in names}
    print(f'\n{title}, nats a token, over {len(seeds)} seeds')
    for name in names:
      print(f'  {name:34} {interval(values[name])}')
    for one, other in itertools.combinations(names, 2):
      label = f'{one} - {other}'
      print(f'  {label:34} {interval(values[one] - values[other])}')


def interval(values: np.ndarray) -> str:
  """'mean +- half width (each value)'."""
  spread = values.std(ddof=1) / np.sqrt(len(values))
  half = scipy.stats.t.ppf(0.975, len(values) - 1) * spread
  each = ', '.join(f'{value:+.3f}' for value in values)
  return f'{values.mean():+.3f} +- {half:.3f}  ({each})'


if __name__ == '__main__':
  main()
