"""Beside `transformers` itself, where it is installed."""

import json

import numpy as np
import pytest

from tests.families.cases import CASES, Case
from tests.families.parity import TOLERANCE, errors, recorded
from tests.families.weights import source, weight
from tpu_lm.checks import UserError
from tpu_lm.families.load import FAMILIES, load
from tpu_lm.families.release import Release

needs = 'needs torch and transformers, which the project itself does not'
pytest.importorskip('torch', reason=needs)
transformers = pytest.importorskip('transformers', reason=needs)

from tests.families.reference import reference  # noqa: E402


@pytest.mark.parametrize('name', CASES)
def test_what_is_recorded_is_what_it_says(name):
  about, arrays = reference(name, CASES[name])
  config, tensors, before = recorded(name)
  now = json.loads(json.dumps(about['config']))
  version = {'transformers_version': now['transformers_version']}
  assert now == config | version
  shapes = {key: value.shape for key, value in tensors.items()}
  assert shapes == about['tensors']
  for key in before.keys() - {'float32_error'}:
    np.testing.assert_allclose(arrays[key], before[key], atol=1e-5)


def drawn(name: str) -> Case:
  """A case with sizes and options drawn at random."""
  random = source(f'sizes of {name}')

  def choose(*values):
    return values[random.integers(len(values))]

  base = CASES[name]
  changes = dict(base.changes)
  heads = choose(2, 3, 6)
  width = 2 * heads * int(random.integers(3, 7))
  layers, inner = int(random.integers(1, 5)), int(random.integers(20, 90))
  sizes = {
    'hidden_size': width,
    'd_model': width,
    'n_embd': width,
    'num_attention_heads': heads,
    'encoder_attention_heads': heads,
    'decoder_attention_heads': heads,
    'num_heads': heads,
    'n_head': heads,
    'num_key_value_heads': choose(1, heads),
    'head_dim': 2 * int(random.integers(3, 12)),
    'd_kv': int(random.integers(3, 20)),
    'num_hidden_layers': layers,
    'num_layers': layers,
    'encoder_layers': layers,
    'n_layer': layers,
    'num_decoder_layers': int(random.integers(1, 4)),
    'decoder_layers': int(random.integers(1, 4)),
    'max_window_layers': int(random.integers(0, layers + 1)),
    'intermediate_size': inner,
    'd_ff': inner,
    'n_inner': inner,
    'encoder_ffn_dim': inner,
    'decoder_ffn_dim': inner,
    'relative_attention_num_buckets': choose(8, 16, 32),
    'relative_attention_max_distance': choose(17, 40, 128),
    'sliding_window': choose(6, 9, 15, 40),
  }
  changes |= {key: sizes[key] for key in changes.keys() & sizes.keys()}
  return base._replace(changes=changes)


@pytest.mark.parametrize('name', CASES)
def test_random_sizes(name):
  about, arrays = reference(f'random {name}', drawn(name))
  tensors = {key: weight(key, of) for key, of in about['tensors'].items()}
  model, params = load(about['config'], tensors)
  allowed = TOLERANCE + 2 * arrays['float32_error']
  assert errors(model, params, arrays).max() < allowed


@pytest.mark.parametrize('name', sorted(FAMILIES))
def test_absent_keys_mean_what_they_mean_to_transformers(name):
  """Each key of the default config may go, or is asked for by name."""
  config = json.loads(
    json.dumps(transformers.AutoConfig.for_model(name).to_dict())
  )

  def model(config):
    return FAMILIES[name].model(Release(config, {}))

  whole, required = model(config), 0
  for key in config.keys() - {'model_type'}:
    rest = {k: value for k, value in config.items() if k != key}
    try:
      assert model(rest) == whole, key
    except UserError as error:
      assert f'{name}.{key} = None' in str(error)
      required += 1
  assert 5 <= required < 12
