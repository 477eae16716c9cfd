"""Shows what a run will read, need and cost, before it is paid for.

tpu-lm plan --gin_file=F
    tokens and epochs of each source and phase, and the learning rate
tpu-lm plan --gin_file=F --topology=v5p:4x4x8
    and compiles the train step for that TPU slice, with no TPU attached:
    memory, work, time at the least, and traffic between devices
tpu-lm plan --gin_file=F --topology=v5e:16x16 --search
    and the same for other batches, remat policies and meshes, one change at a
    time, each of which compiles for a minute or two

Exits with 1, and says what may help, where a step does not fit.
"""

import argparse
import os
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tpu_lm.checks import UserError, nearest
from tpu_lm.commands.arguments import add_gin, quiet

if TYPE_CHECKING:
  from tpu_lm.data.layout import Layout
  from tpu_lm.phase import Run
  from tpu_lm.stages import Stage

HELP = 'show what a run will need, before it runs'
EXIT_DOES_NOT_FIT = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of `plan`."""
  add_gin(parser, required=True)
  parser.add_argument(
    '--topology', help='a TPU slice, such as v5e:4x4, v6e:16x16, v5p:4x4x8'
  )
  parser.add_argument(
    '--slices', type=int, default=1, help='how many of them (default: 1)'
  )
  parser.add_argument(
    '--phase', help='which phase to compile (default: the first)'
  )
  parser.add_argument(
    '--search', action='store_true', help='try other configurations'
  )
  parser.add_argument(
    '--run_dir', type=pathlib.Path, help='of the run, if it is partly trained'
  )


def run(options: argparse.Namespace, bindings: Sequence[str]) -> int:
  """Prints the plan."""
  if (options.search or options.slices != 1) and not options.topology:
    raise UserError('--topology: which TPU slice is missing')
  quiet()
  # The devices are only told of: nothing here may look for a real TPU.
  os.environ['JAX_PLATFORMS'] = 'cpu'
  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
  os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
  os.environ.setdefault('TPU_STDERR_LOG_LEVEL', '3')
  from rich.console import Console

  from tpu_lm import config
  from tpu_lm.compiled.topology import Topology
  from tpu_lm.forecast import text
  from tpu_lm.stages import describe, lay_out

  loaded = config.load(options.gin_file, bindings).run
  topology = None
  if options.topology:
    topology = Topology.parse(options.topology, options.slices)
  stages = lay_out(loaded, options.run_dir or pathlib.Path('no_such_folder'))
  stage = _chosen(stages, options.phase)
  console = Console()
  console.print(describe(loaded, stages), highlight=False)
  console.print(_reading(loaded, stages))
  console.print(text.rate_lines(loaded, stages))
  if topology is None:
    return 0
  layout = _layout(loaded, stage)
  return _compile(console, loaded, stage, layout, topology, options.search)


def _chosen(stages: Sequence['Stage'], name: str | None) -> 'Stage':
  by_name = {stage.phase.name: stage for stage in stages}
  if name is not None and name not in by_name:
    raise UserError(f'--phase={name}: is not there.{nearest(name, by_name)}')
  return by_name[name] if name else stages[0]


def _reading(run: 'Run', stages: Sequence['Stage']):
  """What is read, or why that is not known here."""
  from rich.text import Text

  from tpu_lm.survey.reading import reading_table, readings_of

  readings, trouble = readings_of(run, stages)
  if not readings:
    return Text(f'what is read is not known here: {trouble}', 'yellow')
  return reading_table(readings, trouble)


def _layout(run: 'Run', stage: 'Stage') -> 'Layout':
  """Of the phase's rows; where its data aren't at hand, by its noise alone."""
  from tpu_lm.data.layout import Layout
  from tpu_lm.data.opened import settled

  layout = Layout.of(stage.phase, run.model)
  try:
    return settled(run.corpus, stage.phase.mixture, layout)
  except UserError as error:
    if layout.two_sided and layout.target_length is None:
      raise UserError(
        f'{error}; without the data give Phase.target_length, the tokens in a'
        " row of the decoder's"
      ) from None
    return layout


def _compile(console, run, stage, layout, topology, search: bool) -> int:
  """Compiles one step, or several, and prints what they need."""
  from tpu_lm.forecast import text
  from tpu_lm.forecast.program import DoesNotFit, compile_step
  from tpu_lm.forecast.search import candidates

  ways = candidates(run, stage, topology.devices)
  found = {}
  for number, (name, run, stage) in enumerate(ways):
    began = time.monotonic()
    print(f'compiling {name} for {topology.name} ...', file=sys.stderr)
    try:
      program = compile_step(run, stage, layout, topology)
    except DoesNotFit as error:
      found[name] = str(error), stage
      if not search:
        print(f'tpu-lm: {error}. {advice(run, stage)}', file=sys.stderr)
        return EXIT_DOES_NOT_FIT
    else:
      found[name] = program, stage
      if number == 0:
        console.print(text.program_table(program, stage))
    took = time.monotonic() - began
    print(f'  {took:.0f} s', file=sys.stderr)
    if not search:
      return 0
  console.print(text.search_table(found))
  return EXIT_DOES_NOT_FIT if isinstance(found['as configured'][0], str) else 0


def advice(run: 'Run', stage: 'Stage') -> str:
  """What may make a step fit, the cheapest first."""
  phase, ways = stage.phase, []
  if getattr(phase.objective, 'vocabulary_chunks', None) == 1:
    ways.append('CrossEntropy.vocabulary_chunks = 8')
  if run.model.remat != 'full':
    ways.append(f"{type(run.model).__name__}.remat = 'full'")
  if not getattr(phase.optimizer, 'offload', True):
    ways.append(f'{type(phase.optimizer).__name__}.offload = True')
  if run.mesh.fsdp == 1:
    ways.append('a mesh with fsdp (Mesh.data = 1, Mesh.fsdp = -1)')
  ways.append(f'Phase.micro_batches = {2 * phase.micro_batches}')
  ways.append('a longer sequence axis or a larger slice')
  return f'What may help: {"; ".join(ways)}; or --search'
