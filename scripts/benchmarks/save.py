"""Times a save: its checksums, until training goes on, until it is committed.

  python scripts/benchmarks/save.py
  python scripts/benchmarks/save.py --repeats=3 --gin_file=FRAGMENT.gin

The state is that of a run of gin_configs/runs/files.gin with the model of a
fragment of gin_configs/models/.
"""

import argparse
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))


def main() -> None:
  """Prints a line a part."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    '--gin_file', default='gin_configs/models/decoder_25m.gin'
  )
  parser.add_argument('--repeats', type=int, default=5)
  options = parser.parse_args()
  import jax

  from scripts.benchmarks.our_step import OurStep
  from tpu_lm import config
  from tpu_lm.checkpoint import Checkpoints
  from tpu_lm.checksums import checksums

  run = config.load(['gin_configs/runs/files.gin', options.gin_file], ()).run
  state = OurStep(run).state
  arrays = {'params': state.params, 'optimizer': state.optimizer}
  size = sum(leaf.nbytes for leaf in jax.tree.leaves(arrays))
  target = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
  )
  found: dict[str, list[float]] = {}

  def timed(name: str, what: Callable) -> None:
    began = time.perf_counter()
    jax.block_until_ready(what())
    found.setdefault(name, []).append(time.perf_counter() - began)

  checksums(arrays)  # compiles
  with tempfile.TemporaryDirectory() as folder:
    for number in range(options.repeats):
      checkpoints = Checkpoints(pathlib.Path(folder) / str(number))
      timed('checksums alone', lambda: checksums(arrays))
      timed(
        'until training goes on, them included',
        lambda c=checkpoints: c.save(state, {'number': 0}),
      )
      timed('until it is committed, besides', lambda c=checkpoints: c.wait())
      timed(
        'restored, checksums included',
        lambda c=checkpoints: c.restore(0, target),
      )
  print(f'{size / 1e6:,.0f} MB of parameters and optimizer state')
  for name, seconds in found.items():
    print(
      f'{name}: {statistics.median(seconds):.3f} s'
      f' ({min(seconds):.3f} to {max(seconds):.3f})'
    )


if __name__ == '__main__':
  main()
