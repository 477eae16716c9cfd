"""Our logits are those of `transformers`, on weights from nowhere.

The logits are recorded (record.py), so that nothing but the project is needed.
"""

import jax
import numpy as np
import pytest

from tests.families.cases import CASES
from tests.families.parity import NAMES, TOLERANCE, largest_error, recorded
from tpu_lm.families.load import FAMILIES, load
from tpu_lm.tree import differences


def test_every_case_is_recorded_as_it_is():
  assert sorted(CASES) == NAMES
  # transformers 5 turns this key into `scale_decoder_outputs`.
  turned = {'t5_1_1': {'tie_word_embeddings'}}
  for name, case in CASES.items():
    config, _, _ = recorded(name)
    assert config['model_type'] == case.model_type
    for key in case.changes.keys() - turned.get(name, set()):
      assert config[key] == case.changes[key] or isinstance(config[key], dict)


def test_every_family_is_recorded():
  assert {case.model_type for case in CASES.values()} == set(FAMILIES)


@pytest.mark.parametrize('name', NAMES)
def test_logits(name):
  assert largest_error(name) < TOLERANCE


@pytest.mark.parametrize('name', NAMES)
def test_recorded_logits_are_worth_comparing(name):
  _, _, arrays = recorded(name)
  mask = arrays['mask']
  assert 0 < mask[1].sum() < mask[0].sum() == mask.shape[1]
  assert 0.5 < arrays['logits'][mask == 1].std() < 20
  # In single precision `transformers` itself is well within the tolerance.
  assert arrays['float32_error'] < TOLERANCE / 2


@pytest.mark.parametrize('name', NAMES)
def test_parameters_are_as_init_makes_them(name):
  config, tensors, _ = recorded(name)
  model, params = load(config, tensors)
  assert not differences(jax.eval_shape(model.init, jax.random.key(0)), params)
  assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(params))
