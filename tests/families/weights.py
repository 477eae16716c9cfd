"""Weights that need no file: a function of a tensor's name and shape."""

import hashlib

import numpy as np

# Tables of vectors; what else has two dimensions multiplies.
TABLES = 'embed', 'shared', 'wte', 'wpe', 'lm_head', 'relative'


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
  """f32[shape]: normal, of deviation 1 in tables and 0.15 elsewhere; the
  scales of norms are 1 + 0.1 normal. Logits are then of the order of 5.

  Args:
    name: as the checkpoint calls the tensor; it seeds the draw.
    shape: the tensor's shape.
  """
  values = source(name).standard_normal(shape)
  if name.endswith('weight') and len(shape) == 1:
    return np.float32(1 + 0.1 * values)
  is_table = len(shape) > 1 and any(word in name for word in TABLES)
  return np.float32(values if is_table else 0.15 * values)


def tokens(name: str, vocabulary: int, shape: tuple[int, ...]) -> np.ndarray:
  """i64[shape] in [3, vocabulary), clear of the families' padding tokens."""
  return source(name).integers(3, vocabulary, shape)


def source(name: str) -> np.random.Generator:
  """Random numbers that depend on nothing but `name`."""
  seed = hashlib.blake2b(name.encode(), digest_size=16).digest()
  return np.random.Generator(np.random.Philox(key=np.frombuffer(seed, '<u8')))
