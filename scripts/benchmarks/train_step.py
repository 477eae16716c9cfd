"""Times the train step of a configured model on random tokens.

  python scripts/benchmarks/train_step.py
  python scripts/benchmarks/train_step.py --against=GLIBC_TUNABLES= --repeats=5
  python scripts/benchmarks/train_step.py --against=torch

The second runs itself alternately with an environment variable changed, each
time in a process of its own, and prints the ratio: the only figure to quote
from a noisy machine.

The third takes turns with the same model in PyTorch, eager and compiled, after
it has shown that loss, gradients and updates are equal (`--check`: and does no
more). It needs the extra `bench` (`pip install 'tpu-lm[bench]'`) and, for
`torch.compile`, a C++ compiler: g++, or the one that CXX names. Quote it from
an idle machine only: where others use the cores, PyTorch's threads wait for
each other after every operation, and lose more by it than XLA's. Without
--gin_file it takes two decoders, of 3 and 25 M parameters.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import time

QUICKSTART = 'gin_configs/runs/quickstart.gin'
FILES = 'gin_configs/runs/files.gin'
# Gin files and bindings of what is compared with PyTorch.
DECODERS = (
  (
    [FILES, 'gin_configs/models/decoder_3m.gin'],
    ['BATCH = 16', 'SEQ_LEN = 256'],
  ),
  (
    [FILES, 'gin_configs/models/decoder_25m.gin'],
    ['BATCH = 4', 'SEQ_LEN = 512', 'Decoder.vocabulary = 13312'],
  ),
)


def main() -> None:
  """Prints one line a measurement."""
  parser = argparse.ArgumentParser(
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    epilog='--gin.NAME=VALUE overrides a binding of the gin files',
  )
  parser.add_argument(
    '--gin_file', action='append', default=[], help='its model; may be repeated'
  )
  parser.add_argument('--steps', type=int, help='40; beside torch 4 a turn')
  parser.add_argument('--against', help='VARIABLE=VALUE, or torch')
  parser.add_argument('--repeats', type=int, help='5; beside torch 9 turns')
  beside = parser.add_argument_group('with --against=torch')
  beside.add_argument('--documents', type=int, default=1, help='in each row')
  beside.add_argument('--check', action='store_true', help='time nothing')
  bound = [text for text in sys.argv[1:] if text.startswith('--gin.')]
  options = parser.parse_args([a for a in sys.argv[1:] if a not in bound])
  bindings = [text.removeprefix('--gin.') for text in bound]
  if options.against == 'torch':
    beside_torch(options, bindings)
    return
  if options.documents != 1 or options.check:
    parser.error('--documents and --check go with --against=torch')
  files = options.gin_file or [QUICKSTART]
  steps, repeats = options.steps or 40, options.repeats or 5
  if options.against is None:
    print(f'{measure(files, bindings, steps):.2f} ms a step (median)')
    return
  variable, equals, value = options.against.partition('=')
  if not equals:
    parser.error('--against must be VARIABLE=VALUE, or torch')
  arguments = [f'--gin_file={file}' for file in files]
  arguments += [*bound, f'--steps={steps}']
  ratios = []
  for _ in range(repeats):
    here = rerun(arguments, os.environ)
    there = rerun(arguments, {**os.environ, variable: value})
    ratios.append(there / here)
    print(f'{here:.1f} ms as is, {there:.1f} ms with {options.against}')
  print(
    f'ratio with / as is: median {statistics.median(ratios):.2f}, '
    f'{min(ratios):.2f} to {max(ratios):.2f} in {repeats} pairs'
  )


def rerun(arguments: list[str], environment) -> float:
  """The median step of a fresh process, in milliseconds."""
  output = subprocess.run(
    [sys.executable, __file__, *arguments],
    env=environment,
    capture_output=True,
    text=True,
    check=True,
  ).stdout
  return float(output.split()[0])


def measure(files: list[str], bindings: list[str], steps: int) -> float:
  """Median milliseconds of the first phase's step, after two to warm up."""
  from our_step import OurStep, random_batch

  from tpu_lm import config

  run = config.load(files, bindings).run
  batch = random_batch(run.phases[0], run.model.vocabulary, seed=0)
  step, seconds = OurStep(run), []
  for _ in range(steps + 2):
    started = time.perf_counter()
    step(batch)
    step.wait()
    seconds.append(time.perf_counter() - started)
  return statistics.median(seconds[2:]) * 1e3


def beside_torch(options: argparse.Namespace, bindings: list[str]) -> None:
  """Checks and times our step beside PyTorch's; exit code 2 on a mistake."""
  if importlib.util.find_spec('torch') is None:
    print("PyTorch is missing: pip install 'tpu-lm[bench]'", file=sys.stderr)
    sys.exit(2)
  import against_torch

  from tpu_lm import config
  from tpu_lm.checks import UserError

  given = [(options.gin_file, [])] if options.gin_file else DECODERS
  try:
    for files, sizes in given:
      run = config.load(files, [*sizes, *bindings]).run
      for line in against_torch.lines(
        run,
        options.documents,
        options.check,
        options.repeats or 9,
        options.steps or 4,
      ):
        print(line, flush=True)
  except UserError as error:
    print(f'train_step: {error}', file=sys.stderr)
    sys.exit(2)


if __name__ == '__main__':
  main()
