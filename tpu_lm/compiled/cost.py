"""What one run of a compiled program costs a device, loops counted in full.

XLA's `compiled.cost_analysis()` counts the body of each while loop once, so a
scan over layers is counted as one layer, and on TPUs its `optimal_seconds`
turns negative. `cost_of` walks the program from its entry and multiplies what
each computation does by how often its loops run.
"""

import collections
import dataclasses
import re
from collections.abc import Mapping
from typing import NamedTuple

from tpu_lm.compiled import hlo
from tpu_lm.compiled.products import eight_bits, flops_of

_COLLECTIVES = {
  *('all-gather', 'reduce-scatter', 'all-reduce', 'all-to-all'),
  *('ragged-all-to-all', 'collective-permute', 'collective-broadcast'),
  *('send', 'recv'),
}
# Their results' bytes are counted, of all others the operands'.
_RECEIVED = {'all-gather', 'recv'}
# Of these pairs the end is counted: the beginning's result holds more.
_ENDS = {'all-gather-done': 'all-gather', 'recv-done': 'recv'}
_BEGIN = {'all-gather-start', 'recv'}
# What may lead to the host's memory or back; of slices only the pairs do.
_COPIES = {'copy', 'copy-done', 'slice-done', 'dynamic-slice-done'}
_COPIES |= {'dynamic-update-slice-start'}
# What the compiler says for some instructions that it can't estimate.
UNKNOWN = 2**63 - 1
_CYCLES = re.compile(r'"estimated_cycles":"?(\d+)')
_KERNEL = re.compile(r'op_name="[^"]*?([^"/]+)/(?:pallas_call|tpu_custom_call)')
_STEM = re.compile(r'(?:\.(?:\d+|clone))+$')
_HOST = 'S(5)'


class Traffic(NamedTuple):
  """Transfers of one kind: how many, their bytes, how many asynchronous."""

  count: int = 0
  bytes: int = 0
  asynchronous: int = 0


@dataclasses.dataclass(frozen=True)
class Cost:
  """What one run costs one device.

  Attributes:
    flops: of matrix products and convolutions, two for a multiplication and
      an addition. Kernels (Pallas) are not seen into and count nothing, nor
      do the library calls that matrix products become on GPUs.
    narrow_flops: those of them whose factors both have 8 bits, by format:
      'int8' and 'fp8'.
    cycles: the TPU compiler's own estimates, added up; 0 elsewhere. Waiting
      for collectives and time in kernels are left out: the sum ranks programs
      and bounds their time from below, it does not foretell it.
    collectives: by kind, as 'all-gather' or 'send' (between slices). Bytes
      are of one device: the result's of all-gather and recv, the operand's of
      reduce-scatter, all-reduce, all-to-all, collective-permute and send,
      without the padding of layouts. Asynchronous are those that the program
      starts and ends apart, so that it may compute meanwhile.
    custom_calls: how often each target is called, the compiler's included.
    kernels: how often each Pallas kernel for TPUs is called, by its name.
    host_copies: copies between the memories of device and host.
    unknown_loops: loops whose count was not found: they are counted once.
  """

  flops: int
  narrow_flops: Mapping[str, int]
  cycles: int
  collectives: Mapping[str, Traffic]
  custom_calls: Mapping[str, int]
  kernels: Mapping[str, int]
  host_copies: Traffic
  unknown_loops: tuple[str, ...]

  def lines(self) -> list[str]:
    """The same as text, a line for each figure."""
    rows = {'flops': f'{self.flops:.4g}', 'estimated cycles': f'{self.cycles}'}
    for kind, flops in sorted(self.narrow_flops.items()):
      rows[f'flops in {kind}'] = f'{flops:.4g}'
    traffic = dict(sorted(self.collectives.items()))
    if self.host_copies.count:
      traffic['host copies'] = self.host_copies
    for kind, (count, size, asynchronous) in traffic.items():
      told = f', {asynchronous} asynchronous' if asynchronous else ''
      rows[kind] = f'{count} of {size / 1e6:.4g} MB in all{told}'
    for kernel, count in sorted(self.kernels.items()):
      rows[f'kernel {kernel}'] = f'{count} (flops not counted)'
    for loop in self.unknown_loops:
      rows[f'loop {loop}'] = 'count unknown: counted once'
    width = max(map(len, rows))
    return [f'{name:<{width}}  {value}' for name, value in rows.items()]


def cost_of(text: str) -> Cost:
  """Adds up what a compiled program does in one run.

  Of the branches of a conditional the one with the most flops is counted.

  Args:
    text: the program, as `compiled.as_text()` gives it.

  Returns:
    Its cost on one device.

  Raises:
    ValueError: the text is not a compiled program's.
  """
  module = hlo.parse(text)
  return _Walk(module).total(module.entry).cost()


class _Tally:
  """Sums while they grow."""

  def __init__(self):
    self.numbers = collections.Counter()
    self.unknown_loops: dict[str, None] = {}

  def transfer(self, kind: str, *traffic: int):
    for field, number in zip(Traffic._fields, traffic, strict=True):
      self.numbers[field, kind] += number

  def add(self, other: '_Tally', times: int = 1):
    for key, number in other.numbers.items():
      self.numbers[key] += number * times
    self.unknown_loops |= other.unknown_loops

  def cost(self) -> Cost:
    def all_of(group):
      found = ((key, number) for key, number in self.numbers.items() if number)
      return {name: number for (field, name), number in found if field == group}

    def traffic(kind):
      return Traffic(*(self.numbers[f, kind] for f in Traffic._fields))

    kinds = [kind for kind in all_of('count') if kind != _HOST]
    return Cost(
      self.numbers['flops', ''],
      all_of('narrow'),
      self.numbers['cycles', ''],
      {kind: traffic(kind) for kind in kinds},
      all_of('custom call'),
      all_of('kernel'),
      traffic(_HOST),
      tuple(self.unknown_loops),
    )


class _Walk:
  """The tallies of computations, each worked out once."""

  def __init__(self, module: hlo.Module):
    self.module = module
    self.done: dict[tuple[str, bool, bool], _Tally] = {}

  def total(self, name: str, fused=False, asynchronous=False) -> _Tally:
    """What one run of a computation costs, all that it calls included.

    Args:
      name: of the computation.
      fused: whether it is inside of a fusion, whose cycles are counted whole.
      asynchronous: whether it is started and ended apart.
    """
    key = name, fused, asynchronous
    if key not in self.done:
      tally = self.done[key] = _Tally()
      computation = self.module.computations[name]
      started = _started(computation)
      for instruction in computation.instructions.values():
        self._count(tally, computation, instruction, fused, asynchronous)
        _count_transfer(tally, computation, instruction, asynchronous, started)
    return self.done[key]

  def _count(self, tally, computation, instruction, fused, asynchronous):
    opcode = instruction.opcode
    if not fused and (cycles := _CYCLES.search(instruction.rest)):
      tally.numbers['cycles', ''] += int(cycles.group(1)) % UNKNOWN
    if opcode in ('fusion', 'call', 'async-start', 'call-start'):
      state = fused or opcode == 'fusion', asynchronous or 'start' in opcode
      for called in instruction.called('calls', 'to_apply'):
        tally.add(self.total(called, *state))
    elif opcode == 'while':
      trips = self.module.trips(computation, instruction)
      if trips is None:
        tally.unknown_loops[instruction.name] = None
      for body in instruction.called('body'):
        tally.add(self.total(body), 1 if trips is None else trips)
    elif opcode == 'conditional':
      branches = instruction.called(
        'branch_computations', 'true_computation', 'false_computation'
      )
      totals = [self.total(branch) for branch in branches]
      tally.add(max(totals, key=lambda total: total.numbers['flops', '']))
    elif opcode in ('dot', 'convolution'):
      flops = flops_of(computation, instruction)
      tally.numbers['flops', ''] += flops
      if kind := eight_bits(computation, instruction):
        tally.numbers['narrow', kind] += flops
    elif opcode == 'custom-call':
      target = instruction.attribute('custom_call_target').strip('"')
      tally.numbers['custom call', target] += 1
      if target == 'tpu_custom_call':
        named = _KERNEL.search(instruction.rest)
        kernel = named.group(1) if named else _STEM.sub('', instruction.name)
        tally.numbers['kernel', kernel] += 1


def _started(computation) -> set[str]:
  """What the fusions that start a TPU's asynchronous collectives start."""
  return {
    operand
    for instruction in computation.instructions.values()
    if instruction.opcode == 'custom-call'
    and '"AsyncCollectiveStart"' in instruction.rest
    for operand in instruction.operands
  }


def _count_transfer(tally, computation, instruction, asynchronous, started):
  opcode = instruction.opcode
  kind = _ENDS.get(opcode, opcode.removesuffix('-start'))
  if opcode in _BEGIN or not (kind in _COLLECTIVES or opcode in _COPIES):
    return
  operands = [computation.instructions[o] for o in instruction.operands]
  if opcode in _COPIES:
    target, source = instruction, operands[0]
    if opcode == 'dynamic-update-slice-start':
      target, source = operands[:2]
    elif source.opcode.endswith('-start'):
      source = computation.instructions[source.operands[0]]
    if (_HOST in source.shape) != (_HOST in target.shape):
      moved = instruction if target is instruction else source
      tally.transfer(_HOST, 1, hlo.byte_count(moved.shape), opcode != 'copy')
    return
  if 'async_collective_fusion_config' in instruction.rest:
    # Repeated in each fusion that does a part of it: its start stands for all.
    if instruction.name not in started:
      return
    asynchronous = True
  measured = [instruction] if kind in _RECEIVED else operands
  size = sum(hlo.byte_count(each.shape) for each in measured)
  apart = asynchronous or opcode != kind or kind == 'send'
  tally.transfer(kind, 1, size, apart)
