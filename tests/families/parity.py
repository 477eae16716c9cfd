"""Our logits beside the recorded ones."""

import functools
import json
import pathlib

import jax
import numpy as np

from tests.families.weights import weight
from tpu_lm.families.load import load

TOLERANCE = 1e-4
RECORDED = pathlib.Path(__file__).parent / 'recorded'
# Halves the time to compile, which is nearly all of it.
QUICK = {'xla_backend_optimization_level': 0}
NAMES = sorted(path.stem for path in RECORDED.glob('*.json'))


@functools.cache
def recorded(name: str) -> tuple[dict, dict, dict[str, np.ndarray]]:
  """Config, deterministic tensors and recorded arrays of a case."""
  about = json.loads((RECORDED / f'{name}.json').read_text(encoding='utf-8'))
  tensors = {
    theirs: weight(theirs, tuple(shape))
    for theirs, shape in about['tensors'].items()
  }
  with np.load(RECORDED / f'{name}.npz') as arrays:
    return about['config'], tensors, dict(arrays)


def batch_of(arrays: dict) -> dict[str, np.ndarray]:
  """A recorded batch as our models read one."""
  batch = {}
  for side in ('', 'encoder_'):
    if f'{side}inputs' in arrays:
      mask = np.asarray(arrays[f'{side}mask'], np.int32)
      batch[f'{side}inputs'] = np.asarray(arrays[f'{side}inputs'], np.int32)
      batch[f'{side}segments'] = mask
      batch[f'{side}positions'] = np.arange(mask.shape[1]) * mask
  return batch


def errors(model, params, arrays: dict) -> np.ndarray:
  """Absolute errors of our logits where there is a token, f64[n, V]."""
  apply = jax.jit(model.apply, compiler_options=QUICK)
  logits = np.asarray(apply(params, batch_of(arrays)).logits_BSV)
  assert logits.dtype == np.float32
  differences = np.abs(np.float64(logits) - arrays['logits'])
  return differences[arrays['mask'] == 1]


def largest_error(name: str, **changes) -> float:
  """The largest error of a recorded case, in float32."""
  config, tensors, arrays = recorded(name)
  model, params = load(config | changes, tensors)
  return float(errors(model, params, arrays).max())
