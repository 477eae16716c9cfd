"""Released models with broken configs and tensors: ours, or one line."""

import numpy as np
import pytest
from hypothesis import strategies

from tests.families.parity import NAMES, recorded
from tests.fuzz.mutations import amounts, broken_json, fuzz, told
from tpu_lm.families.load import load

# Sizes that are right in themselves ask for what no test has the memory for.
LARGEST = 10_000


def too_large(value):
  if isinstance(value, dict | list):
    parts = value.values() if isinstance(value, dict) else value
    return any(map(too_large, parts))
  return type(value) is int and value > LARGEST


@amounts(30)
@pytest.mark.parametrize('name', NAMES)
def test_configs(name, examples):
  config, tensors, _ = recorded(name)
  usual = {key: None for key in config if too_large(config[key])}
  small = {key: config[key] for key in config if key not in usual}

  def check(value):
    if isinstance(value, dict) and not too_large(value):
      value = {**{key: config[key] for key in usual}, **value}
      told(load, value, tensors)

  check(small)
  fuzz(check, broken_json(small), examples)


@strategies.composite
def broken_tensors(draw, tensors):
  """Tensors of which some are gone, renamed, or of another shape or kind."""
  tensors = dict(tensors)
  for _ in range(draw(strategies.integers(1, 3))):
    name = draw(strategies.sampled_from(sorted(tensors)))
    other = draw(strategies.sampled_from(sorted(tensors)))
    value = tensors[name]
    match draw(strategies.integers(0, 6)):
      case 0:
        del tensors[name]
      case 1:
        tensors[f'{name}{draw(strategies.text(max_size=3))}'] = value
      case 2:
        tensors[name] = tensors[other]
      case 3:
        tensors[name] = value[..., :-1]
      case 4:
        kind = draw(strategies.sampled_from(['int32', 'bool', 'complex64']))
        tensors[name] = np.asarray(value).astype(kind)
      case 5:
        tensors[name] = value.reshape(-1)
      case 6:
        tensors[other.replace('1', '7')] = value[None]
  return tensors


@amounts(30)
@pytest.mark.parametrize('name', NAMES)
def test_tensors(name, examples):
  config, tensors, _ = recorded(name)
  fuzz(
    lambda value: told(load, config, value), broken_tensors(tensors), examples
  )
