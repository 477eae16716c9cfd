"""Matrix products in 8 bits, in training.

Both factors are rounded to 8 bits where they are multiplied; weights, updates
and all else keep their types. The recipe is that of AQT (Accurate Quantized
Training) and its successor qwix, in their terms: dynamic scales by the largest
magnitude, one for each row of either factor, symmetric, and a gradient that
passes the rounding unchanged (straight-through). In int8 it is Zhang et al.
(2022), "PokeBNN", section 4.2, at 8 bits; the formats of fp8 are those of
Micikevicius et al. (2022), "FP8 Formats for Deep Learning", section 3.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx

from tpu_lm.checks import UserError, nearest, require
from tpu_lm.shapes import BATCH
from tpu_lm.sharding import partition_spec

# Of values, and of gradients, which spread wider.
FORMATS = {
  'int8': (jnp.int8, jnp.int8),
  'fp8': (jnp.float8_e4m3fn, jnp.float8_e5m2),
}
BACKWARD = ('none', 'inputs', 'all')
# Magnitudes below are taken for 0: their scales would be no normal numbers.
SMALLEST = 1e-30
# So many products of two int8 fit into the int32 that they are summed in.
MOST_TERMS = (2**31 - 1) // 127**2


@dataclasses.dataclass(frozen=True)
class Quantization:
  """Products of layers with their weights in 8 bits.

  Those with the token table, in heads and of attention stay as they are, as in
  MaxText, whose rule for qwix names the decoder's layers.

  Attributes:
    kind: 'int8', or 'fp8': e4m3, and e5m2 for gradients.
    backward: which products of the backward pass, too: 'none'; 'inputs', the
      gradient of what was multiplied with the weights; 'all', that of the
      weights as well, which sums over tokens, and tokens differ most in size.
      MaxText's int8 is 'inputs' with AQT and 'all' with qwix.
  """

  kind: str = 'int8'
  backward: str = 'inputs'

  def __post_init__(self):
    for name, known in (('kind', FORMATS), ('backward', BACKWARD)):
      value = getattr(self, name)
      hint = f'is not known.{nearest(str(value), known)}'
      require(value in tuple(known), f'Quantization.{name}', value, hint)


def mark(module: nnx.Module, quantization: Quantization | None) -> None:
  """Makes `project` multiply with all parameters of a module in 8 bits."""
  for _, node in nnx.iter_graph(module):
    if isinstance(node, nnx.Param):
      node.set_metadata(quantization=quantization)


def multiply(
  quantization: Quantization, x: jax.Array, weights_IO: jax.Array
) -> jax.Array:
  """The product of rows and weights, both rounded to 8 bits.

  Sums are taken in int32 (int8) or float32 (fp8). A row or column of zeros
  gives zeros; one with a number that is not finite gives none that is.

  Args:
    quantization: how.
    x: [B, ..., I].
    weights_IO: in the dtype of `x`.

  Returns:
    [B, ..., O] in the dtype of `x`.

  Raises:
    UserError: int8 sums could overflow.
  """
  rows, size = x.shape[0], x.shape[-1]
  tokens, shards = x.size // size, _shards(rows)
  if quantization.kind == 'int8':
    terms = [size]
    if quantization.backward != 'none':
      terms.append(weights_IO.shape[1])
    if quantization.backward == 'all':
      terms.append(tokens // shards)
    if max(terms) > MOST_TERMS:
      raise UserError(
        f"Quantization.kind = 'int8': {max(terms):,} products to a sum can"
        f' overflow 32 bits, {MOST_TERMS:,} cannot: take'
        " Quantization.backward = 'inputs', more micro-batches, or 'fp8'"
      )
  product = _multiply(quantization, shards, x.reshape(-1, size), weights_IO)
  return product.reshape(*x.shape[:-1], -1)


def _shards(rows: int) -> int:
  """Into how many parts the mesh splits the rows of a batch."""
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return 1
  axes = partition_spec((BATCH,), (rows,), mesh)[0] or ()
  axes = (axes,) if isinstance(axes, str) else axes
  return math.prod(mesh.shape[axis] for axis in axes)


def _rounded(x: jax.Array, dtype, axis: int) -> tuple[jax.Array, jax.Array]:
  """`x` over its scale, in 8 bits, and f32 scales; one along `axis`."""
  whole = jnp.issubdtype(dtype, jnp.integer)
  bound = 127.0 if whole else float(jnp.finfo(dtype).max)
  largest = jnp.max(jnp.abs(x), axis, keepdims=True).astype(jnp.float32)
  scale = jnp.maximum(largest, SMALLEST) / bound
  scaled = x.astype(jnp.float32) * (1 / scale)
  return (jnp.round(scaled) if whole else scaled).astype(dtype), scale


def _dot(left: jax.Array, right: jax.Array, *dimensions) -> jax.Array:
  """f32; `dimensions` as of `jax.lax.dot_general`: contracted, batch."""
  whole = jnp.issubdtype(left.dtype, jnp.integer)
  return jax.lax.dot_general(
    left,
    right,
    dimensions,
    preferred_element_type=jnp.int32 if whole else jnp.float32,
  ).astype(jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _multiply(quantization, shards, x_TI, weights_IO):
  dtype, _ = FORMATS[quantization.kind]
  left_TI, left_T1 = _rounded(x_TI, dtype, 1)
  right_IO, right_1O = _rounded(weights_IO, dtype, 0)
  out_TO = _dot(left_TI, right_IO, ((1,), (0,)), ((), ()))
  return (out_TO * left_T1 * right_1O).astype(x_TI.dtype)


def _forward(quantization, shards, x_TI, weights_IO):
  # As they are, not rounded: other products read the same `x`, and what the
  # backward pass keeps is kept once.
  out_TO = _multiply(quantization, shards, x_TI, weights_IO)
  return out_TO, (x_TI, weights_IO)


def _backward(quantization, shards, kept, gradient_TO):
  """The transposed products of what the forward pass multiplied.

  A scale that would lie inside of a sum goes into the gradient before that is
  rounded, so the other factor is the one of the forward pass.
  """
  x_TI, weights_IO = kept
  dtype, gradient_dtype = FORMATS[quantization.kind]
  wide_TO = gradient_TO.astype(jnp.float32)
  if quantization.backward == 'none':
    dx_TI = gradient_TO @ weights_IO.T
  else:
    right_IO, right_1O = _rounded(weights_IO, dtype, 0)
    left_TO, left_T1 = _rounded(wide_TO * right_1O, gradient_dtype, 1)
    dx_TI = _dot(left_TO, right_IO, ((1,), (1,)), ((), ())) * left_T1
  if quantization.backward != 'all':
    dweights_IO = x_TI.T @ gradient_TO
  else:
    # Each shard of the tokens (G) has its own scales and sum: largest numbers
    # needn't be compared over devices, and int32 has fewer terms to hold.
    left_TI, left_T1 = _rounded(x_TI, dtype, 1)
    left_GTI, scaled_GTO = (
      each.reshape(shards, -1, each.shape[1])
      for each in (left_TI, wide_TO * left_T1)
    )
    right_GTO, right_G1O = _rounded(scaled_GTO, gradient_dtype, 1)
    sums_GIO = _dot(left_GTI, right_GTO, ((1,), (1,)), ((0,), (0,)))
    dweights_IO = jnp.sum(sums_GIO * right_G1O, 0)
  return dx_TI.astype(x_TI.dtype), dweights_IO.astype(weights_IO.dtype)


_multiply.defvjp(_forward, _backward)
