"""Checksums of arrays, worked out where the arrays are.

Files need not be read again to know whether what was written is what comes
back, and it does not matter how an array is laid out over devices or files:
the sums are of integers, so that their order makes no difference.
"""

import jax
import jax.numpy as jnp
import numpy as np

from tpu_lm.tree import Tree, named_paths


def checksums(tree: Tree) -> dict[str, str]:
  """A checksum of each array, 16 hexadecimal digits by 'a/b/c' name.

  Each element is mixed with its place, by a function that is a bijection of
  the element's bits, and two such values are summed modulo 2**32. Any change of
  one element changes both sums; any other change is missed with a probability
  of 2**-64, in arrays of up to 2**32 elements, whose places all differ.

  Args:
    tree: arrays of any dtype, sharded in any way, in the memory of devices or
      of the host. Where several processes hold it, all have to ask.

  Raises:
    FloatingPointError: an element is not finite.
  """
  # One by one: arrays that live on the host come to the device for it.
  found = {name: _sums(leaf) for name, leaf in named_paths(tree).items()}
  told = {}
  for name, (sums, finite) in jax.device_get(found).items():
    if not finite:
      raise FloatingPointError(f'{name} is not finite')
    told[name] = ''.join(f'{int(part):08x}' for part in sums)
  return told


@jax.jit
def _sums(array: jax.Array) -> tuple[jax.Array, jax.Array]:
  """u32[2], and whether all elements are finite."""
  array = jax.device_put(array, jax.memory.Space.Device)
  place = jnp.zeros(array.shape, jnp.uint32)
  strides = np.cumprod((1, *array.shape[:0:-1]))[::-1]
  for axis, stride in enumerate(strides[: array.ndim]):
    steps = jax.lax.broadcasted_iota(jnp.uint32, array.shape, axis)
    place += steps * np.uint32(stride % 2**32)
  key, bits = _mix(place + np.uint32(1)), _bits(array)
  terms = _mix(bits ^ key), _mix(bits + (key << 7 | key >> 25))
  sums = jnp.stack([jnp.sum(term, dtype=jnp.uint32) for term in terms])
  finite = jnp.all(jnp.isfinite(array.astype(jnp.float32)))
  return sums, finite


def _bits(array: jax.Array) -> jax.Array:
  """The elements' bits as u32, of the same shape."""
  if array.dtype == jnp.bool_:
    return array.astype(jnp.uint32)
  width = 8 * array.dtype.itemsize
  assert width <= 32, array.dtype
  bits = jax.lax.bitcast_convert_type(array, f'uint{width}')
  return bits.astype(jnp.uint32)


def _mix(x: jax.Array) -> jax.Array:
  """A bijection of u32: the last steps of MurmurHash3 (Appleby, 2011)."""
  x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
  return x ^ (x >> 16)
