"""What a checkpoint says beside its arrays, sealed: changed, it is not read.

Format 2 adds to format 1 the seal, the model, and each array's shape, dtype
and checksum. Format 1 is read as it is, without any of that.
"""

import hashlib
import json
from typing import Any

import jax
import jax.numpy as jnp

from tpu_lm.checks import UserError
from tpu_lm.checksums import checksums
from tpu_lm.tree import Tree, named_paths

FORMAT = 2
SEAL = 'seal'


class Unsealed(ValueError):
  """A record that is not what was written."""


def sealed(content: dict, arrays: Tree) -> dict:
  """The record to save with some arrays.

  Args:
    content: plain JSON.
    arrays: everything that will be saved with it.

  Raises:
    FloatingPointError: an element of an array is not finite.
  """
  leaves, sums = named_paths(arrays), checksums(arrays)
  described = {
    name: {
      'dtype': str(leaf.dtype),
      'shape': list(leaf.shape),
      'checksum': sums[name],
    }
    for name, leaf in leaves.items()
  }
  record = {'format': FORMAT, **content, 'arrays': described}
  return {**record, SEAL: _seal(record)}


def opened(record: Any) -> dict:
  """A record as it was read, once it is known to be what was written.

  Raises:
    Unsealed: it is not.
    UserError: it is of a newer format.
  """
  if not isinstance(record, dict) or not record.keys() & {'lineage', SEAL}:
    raise Unsealed('its record is gone')
  if not record.keys() & {'format', SEAL}:
    return record  # format 1 has no number
  if record.get(SEAL) != _seal(record):
    raise Unsealed('its record was changed')
  if record['format'] != FORMAT:
    raise UserError(
      f'a checkpoint of format {record["format"]}: this version reads up to'
      f' {FORMAT}; use the newer one'
    )
  return record


def shapes(record: dict) -> dict[str, jax.ShapeDtypeStruct] | None:
  """Shapes and dtypes by 'part/name'; None: it is of format 1."""
  if 'arrays' not in record:
    return None
  return {
    name: jax.ShapeDtypeStruct(tuple(one['shape']), jnp.dtype(one['dtype']))
    for name, one in record['arrays'].items()
  }


def check(record: dict, arrays: Tree) -> None:
  """Makes sure that arrays are those that were saved, or some of them.

  Raises:
    Unsealed: one is not; it is named.
  """
  if 'arrays' not in record:
    return
  try:
    found = checksums(arrays)
  except FloatingPointError as error:
    raise Unsealed(str(error)) from None
  for name, checksum in found.items():
    if record['arrays'][name]['checksum'] != checksum:
      raise Unsealed(f'{name} is not what was saved')


def _seal(record: dict) -> str:
  content = {key: value for key, value in record.items() if key != SEAL}
  text = json.dumps(content, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()
