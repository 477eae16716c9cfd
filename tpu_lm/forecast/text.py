"""A forecast as people read it."""

from collections.abc import Mapping, Sequence

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tpu_lm.forecast.program import KERNEL_UTILISATION, Program
from tpu_lm.phase import Run
from tpu_lm.report.words import NOTHING, count, rate
from tpu_lm.stages import Stage

GB = 1e9
DAY = 86_400
BARS = '▁▂▃▄▅▆▇█'
POINTS = 40
LEFT_OUT = (
  "the estimate adds up the compiler's own cycles, and takes kernels at"
  f' {KERNEL_UTILISATION:.0%} of the peak; waiting for other devices, for the'
  " host's memory, for data and for checkpoints is left out: it ranks plans, it"
  ' promises nothing'
)


def program_table(program: Program, stage: Stage) -> RenderableType:
  """Memory, work, time and traffic of a step."""
  table = _table('', 'a step of ' + stage.phase.name, '')
  topology, seconds = program.topology, program.seconds
  mesh = ', '.join(f'{a} {n}' for a, n in program.mesh.items() if n > 1)
  slices = f'{topology.slices} x ' if topology.slices > 1 else ''
  table.add_row(
    'devices', f'{topology.devices:,}', f'{slices}{topology.name}; {mesh}'
  )
  memory = topology.hbm_bytes
  for name, size in program.state_bytes.items():
    if size:
      table.add_row(name, f'{size / GB:.2f} GB', 'a device')
  table.add_row('temporaries', f'{program.temporary_bytes / GB:.2f} GB', '')
  table.add_row(
    'in all',
    f'{program.total_bytes / GB:.2f} GB',
    f'of {memory / GB:.1f} GB: {program.total_bytes / memory:.0%}',
  )
  if program.host_bytes:
    size = f'{program.host_bytes / GB:.2f} GB'
    table.add_row('on the host', size, "a device's share of its memory")
  table.add_section()
  flops = program.flops
  table.add_row(
    'model flops',
    f'{flops.total:.3e}',
    f'needed by all devices; attention {flops.attention / flops.total:.0%}',
  )
  compiled = program.cost.flops + program.kernel_flops
  share = flops.total / (compiled * topology.devices)
  table.add_row(
    'compiled flops',
    f'{compiled:.3e}',
    f'on a device; {share:.0%} of them are needed',
  )
  for kind, narrow in sorted(program.cost.narrow_flops.items()):
    share = narrow / compiled
    table.add_row(f'in {kind}', f'{narrow:.3e}', f'{share:.0%} of the compiled')
  if seconds is None:
    table.add_row('time', NOTHING, f'the clock of {topology.kind} is unknown')
  else:
    tokens = stage.phase.tokens_per_step
    outside = program.cost.cycles / topology.clock_hz
    told = f'at the least; {outside:.3f} s outside kernels'
    table.add_row('time', f'{seconds:.3f} s', told)
    told = 'at the most'
    if formats := sorted(program.cost.narrow_flops):
      told += f', of the peaks in bfloat16 and {", ".join(formats)}'
    table.add_row('utilisation', f'{program.utilisation:.0%}', told)
    table.add_row('tokens a second', count(tokens / seconds), '')
    table.add_row('steps a day', f'{DAY / seconds:,.0f}', '')
    days = stage.phase.steps * seconds / DAY
    steps = f'of {stage.phase.steps:,} steps'
    table.add_row('the phase', f'{days:.2f} days', steps)
  table.add_section()
  for kind, traffic in sorted(program.cost.collectives.items()):
    apart = f', {traffic.asynchronous} asynchronous'
    table.add_row(
      kind,
      f'{traffic.bytes / GB:.2f} GB',
      f'a device, {traffic.count} of them'
      + (apart if traffic.asynchronous else ''),
    )
  if program.cost.host_copies.count:
    copied = program.cost.host_copies
    table.add_row(
      'host copies',
      f'{copied.bytes / GB:.2f} GB',
      f'a device, {copied.count:,} of them',
    )
  for name, calls in sorted(program.cost.kernels.items()):
    table.add_row('kernel', f'{calls}', name)
  table.add_row('checkpoint', f'{program.checkpoint_bytes / GB:.1f} GB', 'each')
  notes = [Text(LEFT_OUT, 'dim')]
  if program.cost.unknown_loops:
    loops = ', '.join(program.cost.unknown_loops)
    notes.append(Text(f'loops counted once: {loops}', 'yellow'))
  return Group(table, *notes)


def search_table(
  found: Mapping[str, tuple[Program | str, Stage]],
) -> RenderableType:
  """What each change would do; the fastest a token first."""
  table = _table('', 'temporaries', 'in all', 'time', 'utilisation', 'tokens/s')

  def pace(item) -> float:
    program, stage = item[1]
    if isinstance(program, str) or not program.seconds:
      return float('inf')
    return program.seconds / stage.phase.tokens_per_step

  for name, (program, stage) in sorted(found.items(), key=pace):
    if isinstance(program, str):
      table.add_row(name, Text(program, 'red'))
      continue
    timed = (NOTHING,) * 3
    if program.seconds:
      timed = (
        f'{program.seconds:.3f} s',
        f'{program.utilisation:.0%}',
        count(stage.phase.tokens_per_step / program.seconds),
      )
    table.add_row(
      name,
      f'{program.temporary_bytes / GB:.2f} GB',
      f'{program.total_bytes / GB:.2f} GB',
      *timed,
    )
  return Group(table, Text(LEFT_OUT, 'dim'))


def rate_lines(run: Run, stages: Sequence[Stage]) -> RenderableType:
  """The learning rate of each phase, as a line of bars."""
  table = _table('phase', 'learning rate', 'first', 'highest', 'last')
  curves = {}
  for stage in stages:
    last = stage.phase.steps - 1
    steps = np.unique(np.linspace(0, last, POINTS).astype(int))
    curves[stage.phase.name] = np.asarray(stage.curve(steps), float)
  top = max(curve.max() for curve in curves.values()) or 1.0
  for name, curve in curves.items():
    places = np.round(curve / top * (len(BARS) - 1)).astype(int)
    bars = ''.join(BARS[place] for place in places)
    ends = rate(curve[0]), rate(curve.max()), rate(curve[-1])
    table.add_row(Text(name, 'bold'), bars, *ends)
  return table


def _table(*headings: str) -> Table:
  table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
  for place, heading in enumerate(headings):
    table.add_column(
      heading, justify='right' if place else 'left', overflow='fold'
    )
  return table
