"""Times the train step of a configured model on random tokens.

  python scripts/benchmarks/train_step.py
  python scripts/benchmarks/train_step.py --against=GLIBC_TUNABLES= --repeats=5

The second runs itself alternately with an environment variable changed, each
time in a process of its own, and prints the ratio: the only figure to quote
from a noisy machine.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time


def main() -> None:
  """Prints one line a measurement."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument(
    '--gin_file', default='gin_configs/runs/quickstart.gin', help='its model'
  )
  parser.add_argument('--steps', type=int, default=40)
  parser.add_argument('--against', help='VARIABLE=VALUE to alternate with')
  parser.add_argument('--repeats', type=int, default=5)
  options = parser.parse_args()
  if options.against is None:
    print(f'{measure(options.gin_file, options.steps):.2f} ms a step (median)')
    return
  variable, _, value = options.against.partition('=')
  ratios = []
  for _ in range(options.repeats):
    here = rerun(options, os.environ)
    there = rerun(options, {**os.environ, variable: value})
    ratios.append(there / here)
    print(f'{here:.1f} ms as is, {there:.1f} ms with {options.against}')
  print(
    f'ratio with / as is: median {statistics.median(ratios):.2f}, '
    f'{min(ratios):.2f} to {max(ratios):.2f} in {options.repeats} pairs'
  )


def rerun(options: argparse.Namespace, environment) -> float:
  """The median step of a fresh process, in milliseconds."""
  output = subprocess.run(
    [
      sys.executable,
      __file__,
      f'--gin_file={options.gin_file}',
      f'--steps={options.steps}',
    ],
    env=environment,
    capture_output=True,
    text=True,
    check=True,
  ).stdout
  return float(output.split()[0])


def measure(gin_file: str, steps: int) -> float:
  """Median milliseconds of the first phase's step, after two to warm up."""
  import jax
  import numpy as np

  from tpu_lm import config
  from tpu_lm.data import packing
  from tpu_lm.state import init_state
  from tpu_lm.step import make_train_step

  run = config.load([gin_file]).run
  phase = run.phases[0]
  optimizer = phase.optimizer.make(run.model.axes())
  state = jax.jit(
    lambda: init_state(run.model, optimizer, (), jax.random.key(0))
  )()
  shape = phase.batch_size, phase.sequence_length + 1
  tokens = np.random.default_rng(0).integers(0, run.model.vocabulary, shape)
  batch = packing.causal(tokens, (np.zeros(0, int), np.zeros(0, int)))
  batch['source'] = np.zeros(phase.batch_size, np.int32)
  step = jax.jit(
    make_train_step(
      run.model,
      phase.objective,
      optimizer,
      phase.curve(None),
      start_step=0,
      seed=0,
      sources=1,
    ),
    donate_argnums=0,
  )
  seconds = []
  for _ in range(steps + 2):
    started = time.perf_counter()
    state, report = step(state, batch)
    jax.block_until_ready((state, report))
    seconds.append(time.perf_counter() - started)
  return statistics.median(seconds[2:]) * 1e3


if __name__ == '__main__':
  main()
