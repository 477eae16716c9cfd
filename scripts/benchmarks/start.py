"""Times a run from its command to its first step, and a step's host cost.

  python scripts/benchmarks/start.py
  python scripts/benchmarks/start.py --model=gin_configs/models/decoder_125m.gin

Starts `tpu-lm train` on a small text in processes of their own: once with an
empty cache of compiled programs, then `--repeats` times with what that left.
The text's token store is there from the second start on.

  python scripts/benchmarks/start.py --host --layers=24

Times what the host does for a step of a tiny model of many layers, whose
arrays are stacked by layer: calls are made without waiting, so that only the
time until the call returns is counted.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

CHILD = """
import sys, time
import jax
from tpu_lm import cli, loop
step, evaluate = loop._Training._step, loop._Training._evaluate
evaluated = 0.0
def first(self):
  step(self)
  jax.block_until_ready(self.state)
  print('FIRST', time.time(), evaluated, flush=True)
  raise SystemExit
def timed(self):
  global evaluated
  began = time.time()
  evaluate(self)
  evaluated = time.time() - began
loop._Training._step, loop._Training._evaluate = first, timed
cli.main(sys.argv[1:])
"""
RUN = """
from __gin__ import dynamic_registration
from tpu_lm import phase
from tpu_lm import sharding
from tpu_lm.models import decoder

include '{model}'
include 'gin_configs/data/files.gin'
include 'gin_configs/schedules/infinite.gin'

phase.Run.name = 'start'
phase.Run.model = @decoder.Decoder()
phase.Run.mesh = @sharding.Mesh()
phase.Run.phases = [@phase.Phase()]
phase.Phase.name = 'base'
phase.Phase.length = 100
phase.Phase.batch_size = 4
phase.Phase.sequence_length = 512
"""


def main() -> None:
  """Prints one line a measurement."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--model', default='gin_configs/models/decoder_25m.gin')
  parser.add_argument('--repeats', type=int, default=5)
  parser.add_argument('--host', action='store_true')
  parser.add_argument('--layers', type=int, default=24)
  options = parser.parse_args()
  if options.host:
    host(options.layers)
    return
  with tempfile.TemporaryDirectory() as folder:
    place = pathlib.Path(folder)
    (place / 'run.gin').write_text(RUN.format(model=options.model))
    words = 'a line of text, and another word or two. ' * 9
    lines = [json.dumps({'text': f'{n}: {words}'}) for n in range(2_000)]
    (place / 'texts.jsonl').write_text('\n'.join(lines))
    cold = start(place, 0)
    print(
      f'{cold[0]:.1f} s to the first step, nothing compiled, no store;'
      f' {cold[1]:.1f} of it for the evaluation before it'
    )
    warm = [start(place, number + 1) for number in range(options.repeats)]
  whole, evaluated = zip(*warm, strict=True)
  print(
    f'{statistics.median(whole):.1f} s with what that left (median of'
    f' {len(whole)}, {min(whole):.1f} to {max(whole):.1f});'
    f' {statistics.median(evaluated):.1f} of it for the evaluation'
  )


def start(place: pathlib.Path, number: int) -> tuple[float, float]:
  """Seconds from the start of the process to the end of the first step, and
  those of them that went into the evaluation before it.
  """
  began = time.time()
  output = subprocess.run(
    [
      sys.executable,
      '-c',
      CHILD,
      'train',
      f'--gin_file={place / "run.gin"}',
      f"--gin.Files.path='{place / 'texts.jsonl'}'",
      f"--gin.Corpus.store_dir='{place / 'stores'}'",
      f'--run_dir={place / f"run{number}"}',
    ],
    # Given, because the wrapper imports jax before the command names its own.
    env={**os.environ, 'JAX_COMPILATION_CACHE_DIR': str(place / 'cache')},
    capture_output=True,
    text=True,
    check=False,
  )
  for line in output.stdout.splitlines():
    if line.startswith('FIRST'):
      ended, evaluated = map(float, line.split()[1:])
      return ended - began, evaluated
  raise SystemExit(output.stderr[-2000:])


def host(layers: int) -> None:
  """Prints the time of a call, the device's work left aside."""
  import jax
  import jax.numpy as jnp

  from tpu_lm.models.decoder import Decoder
  from tpu_lm.objectives.cross_entropy import CrossEntropy
  from tpu_lm.optimizers.adamw import AdamW
  from tpu_lm.sharding import Mesh
  from tpu_lm.state import init_state
  from tpu_lm.step import make_train_step

  sizes = dict.fromkeys(('embed', 'heads', 'kv_heads', 'head_dim', 'mlp'), 2)
  model = Decoder(vocabulary=8, layers=layers, dtype='float32', **sizes)
  optimizer = AdamW().make(model.axes())
  mesh = Mesh().make()
  row = jnp.ones((1, 2), jnp.int32)
  batch = dict.fromkeys(('inputs', 'targets', 'segments', 'positions'), row)
  batch |= {'weights': row * 1.0, 'source': row[:, 0] * 0}
  with jax.set_mesh(mesh):
    state = init_state(model, optimizer, (), jax.random.key(0))
    step = jax.jit(
      make_train_step(
        model,
        CrossEntropy(),
        optimizer,
        lambda count: jnp.float32(1e-3),
        start_step=0,
        seed=0,
        sources=1,
      ),
      donate_argnums=0,
    )
    state, _ = jax.block_until_ready(step(state, batch))
    times = []
    for _ in range(200):
      began = time.perf_counter()
      state, report = step(state, batch)
      times.append(time.perf_counter() - began)
      jax.block_until_ready((state, report))
  arrays = len(jax.tree.leaves(state))
  spread = statistics.quantiles(times, n=20)
  print(
    f'{layers} layers, {arrays} arrays: {statistics.median(times) * 1e6:.0f}'
    f' microseconds until a step returns ({spread[0] * 1e6:.0f} to'
    f' {spread[-1] * 1e6:.0f}, 5th to 95th percentile)'
  )


if __name__ == '__main__':
  main()
