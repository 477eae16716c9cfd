"""What matrix products and convolutions of a compiled program multiply."""

import functools
import math
import re

import numpy as np

from tpu_lm.compiled import hlo


def flops_of(computation: hlo.Computation, instruction: hlo.Instruction) -> int:
  """Two for each multiplication and addition of a dot or a convolution."""
  if instruction.opcode == 'dot':
    return _dot_flops(computation, instruction)
  return _convolution_flops(computation, instruction)


def eight_bits(
  computation: hlo.Computation, instruction: hlo.Instruction
) -> str | None:
  """'int8' or 'fp8' where both factors are of that kind, else None."""
  kinds = {
    hlo.arrays(computation.instructions[name].shape)[0][0]
    for name in instruction.operands
  }
  if kinds <= {'s8', 'u8'}:
    return 'int8'
  return 'fp8' if all(kind.startswith('f8') for kind in kinds) else None


def _sizes(computation, name: str) -> tuple[int, ...]:
  return hlo.arrays(computation.instructions[name].shape)[0][1]


def _dot_flops(computation, dot) -> int:
  left = _sizes(computation, dot.operands[0])
  axes = re.findall(r'\d+', dot.attribute('lhs_contracting_dims') or '')
  result = hlo.arrays(dot.shape)[0][1]
  return 2 * math.prod(result) * math.prod(left[int(axis)] for axis in axes)


def _convolution_flops(computation, convolution) -> int:
  """As XLA counts them: without what falls on padding or between dilations.

  On TPUs every matrix product is a convolution, and those with batch
  dimensions are written with paddings and dilations that never meet a number.
  """
  attribute = convolution.attribute
  left, right = (_sizes(computation, name) for name in convolution.operands)
  result = hlo.arrays(convolution.shape)[0][1]
  labels = re.split('_|->', attribute('dim_labels'))
  window = dict(
    item.split('=') for item in (attribute('window') or '{}')[1:-1].split()
  )

  def field(name, default):
    return window[name].split('x')[axis] if name in window else default

  flops = 2 * right[labels[1].index('i')] * result[labels[2].index('f')]
  flops *= left[labels[0].index('b')]
  flops //= int(attribute('batch_group_count') or 1)
  for axis in range(len(left) - 2):
    flops *= _meetings(
      left[labels[0].index(str(axis))],
      right[labels[1].index(str(axis))],
      result[labels[2].index(str(axis))],
      int(field('stride', 1)),
      int(field('pad', '0_0').split('_')[0]),
      int(field('lhs_dilate', 1)),
      int(field('rhs_dilate', 1)),
    )
  return flops


@functools.cache
def _meetings(inputs, kernel, outputs, stride, pad, gap, kernel_gap) -> int:
  """Pairs of output and kernel positions that fall on an input position."""
  starts = np.arange(outputs) * stride - pad
  total = 0
  for offset in range(0, kernel * kernel_gap, kernel_gap):
    at = starts + offset
    total += int(np.sum((at % gap == 0) & (at >= 0) & (at < inputs * gap)))
  return total
