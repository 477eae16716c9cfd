"""Products of rows in groups, each group with a matrix of its own.

XLA for TPUs has a kernel for `jax.lax.ragged_dot` and for the gradient of its
rows. That of the matrices it computes with every row for every group (16 times
what is needed for 16 groups, compiled for v5p), so there it is left to jax's
own Pallas kernel, `tgmm` of megablox, named after Gale et al. (2022),
"MegaBlocks". XLA's CPU backend does all three that way: for N groups N times
what is needed, and as much more memory.
"""

import functools

import jax
from jax.experimental.pallas.ops.tpu.megablox.gmm import tgmm

TILES = (512, 256, 128)  # of rows
SIDE = 512  # of tiles of the matrices, at the most

# Rows and columns are both contracted over the rows of a group.
_OF_MATRICES = jax.lax.RaggedDotDimensionNumbers(
  dot_dimension_numbers=(((0,), (0,)), ((), ())),
  lhs_ragged_dimensions=[0],
  rhs_group_dimensions=[],
)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def multiply(
  kernel: bool, x_AI: jax.Array, stack_EIO: jax.Array, sizes_E: jax.Array
) -> jax.Array:
  """Rows of group e times matrix e; groups lie one after another.

  Args:
    kernel: whether there are TPUs for the Pallas kernel; it takes rows in
      multiples of 128, others are left to XLA.
    x_AI: rows; those after the last group must be 0.
    stack_EIO: in the dtype of `x_AI`.
    sizes_E: i32, rows in each group.

  Returns:
    [A, O] in the dtype of `x_AI`; rows after the last group are undefined.
  """
  del kernel  # of the backward pass
  return jax.lax.ragged_dot(x_AI, stack_EIO, sizes_E)


def _forward(kernel, x_AI, stack_EIO, sizes_E):
  return multiply(kernel, x_AI, stack_EIO, sizes_E), (x_AI, stack_EIO, sizes_E)


def _backward(kernel, kept, grad_AO):
  x_AI, stack_EIO, sizes_E = kept
  grad_AI = jax.lax.ragged_dot(grad_AO, stack_EIO.swapaxes(1, 2), sizes_E)
  if kernel and len(x_AI) % TILES[-1] == 0:
    grad_EIO = by_kernel(x_AI, grad_AO, sizes_E)
  else:
    grad_EIO = jax.lax.ragged_dot_general(x_AI, grad_AO, sizes_E, _OF_MATRICES)
  return grad_AI, grad_EIO, None


multiply.defvjp(_forward, _backward)


def by_kernel(
  x_AI: jax.Array,
  grad_AO: jax.Array,
  sizes_E: jax.Array,
  interpret: bool = False,
) -> jax.Array:
  """The gradient of the matrices, [E, I, O], in the dtype of `x_AI`."""
  rows = next(tile for tile in TILES if len(x_AI) % tile == 0)
  sides = (min(SIDE, array.shape[1]) for array in (x_AI, grad_AO))
  return tgmm(
    x_AI.swapaxes(0, 1),
    grad_AO,
    sizes_E,
    preferred_element_type=x_AI.dtype,
    tiling=(rows, *sides),
    interpret=interpret,
  )
