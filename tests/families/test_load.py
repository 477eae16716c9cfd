"""What `load` accepts, and what it refuses in one line."""

import contextlib
import dataclasses

import jax
import ml_dtypes
import numpy as np
import pytest

from tests.families.parity import NAMES, errors, recorded
from tpu_lm.checks import UserError
from tpu_lm.families.load import FAMILIES, load
from tpu_lm.families.release import Release

LAYER = 'model.layers.1.self_attn'


def llama(tensors=None, **changes):
  """Loads the recorded Llama with changes to its config and tensors."""
  config, given, _ = recorded('llama')
  return load(config | changes, {**given, **(tensors or {})})


def without(tensors, *names):
  return {name: tensors[name] for name in tensors if name not in names}


@contextlib.contextmanager
def refused(*parts):
  """Expects a `UserError` of one line that has all the parts."""
  with pytest.raises(UserError) as info:
    yield
  text = str(info.value)
  assert '\n' not in text
  assert all(part in text for part in parts), text


@pytest.mark.parametrize('name', NAMES)
def test_each_missing_tensor_is_named(name):
  config, tensors, _ = recorded(name)
  # Whether these are there is how a release tells what its head is.
  optional = {'bart': 'final_logits_bias', 'mt5': 'lm_head.weight'}
  for missing in tensors:
    if missing == optional.get(config['model_type']):
      continue
    if name == 't5_1_1' and missing == 'lm_head.weight':
      continue
    shown = missing.replace('.wi.', '.wi_1.')
    with refused(f'1 tensor ({shown}) missing', config['model_type']):
      load(config, without(tensors, missing))


def test_many_missing_tensors_are_counted():
  config, tensors, _ = recorded('llama')
  kept = {name: tensors[name] for name in tensors if '.1.' not in name}
  with refused('9 tensors (model.layers.1.', ', ...) missing'):
    load(config, kept)


@pytest.mark.parametrize('name', NAMES)
def test_a_tensor_too_many_is_refused(name):
  config, tensors, _ = recorded(name)
  extra = next(key for key in tensors if '.0.' in key).replace('.0.', '.9.')
  shown = extra.replace('.wi.', '.wi_1.')
  with refused(f'1 tensor ({shown}) left over'):
    load(config, {**tensors, extra: np.zeros(3, np.float32)})


def test_a_layer_too_many_is_refused():
  with refused('9 tensors (model.layers.2.', 'left over'):
    llama(num_hidden_layers=2)


@pytest.mark.parametrize('name', NAMES)
def test_each_wrong_shape_is_named(name):
  """A size more, a dimension more, and the transpose of what is not square."""
  config, tensors, _ = recorded(name)
  for theirs, value in tensors.items():
    if 'token_type' in theirs:
      continue  # its first row is read, however many there are
    wrong = [np.concatenate([value, value[:1]]), value[None]]
    if value.shape[0] != value.shape[-1]:
      wrong.append(value.T)
    for changed in wrong:
      shown = theirs.replace('.wi.', '.wi_1.')
      with refused(f'{shown}.shape = ', 'must be'):
        load(config, {**tensors, theirs: changed})


def test_an_unknown_family_is_refused_with_the_nearest():
  with refused("model_type = 'lama'", 'Did you mean: llama'):
    load({'model_type': 'lama'}, {})
  with refused('model_type = None', 'Known: '):
    load({}, {})


UNSUPPORTED = [
  ('llama', {'rope_parameters': {'rope_type': 'llama3', 'factor': 8.0}}),
  ('llama', {'rope_scaling': {'type': 'linear', 'factor': 2.0}}),
  ('llama', {'rope_parameters': {'full_attention': {'rope_theta': 1e4}}}),
  ('llama', {'rope_parameters': 3}),
  ('llama', {'partial_rotary_factor': 0.5}),
  ('llama', {'hidden_act': 'relu2'}),
  ('llama', {'quantization_config': {'bits': 4}}),
  ('llama', {'hidden_size': None}),
  ('llama', {'vocab_size': '96'}),
  ('llama', {'tie_word_embeddings': 'no'}),
  ('llama', {'rms_norm_eps': 0}),
  ('mistral', {'layer_types': ['sliding_attention'] * 3}),
  ('mistral', {'num_key_value_heads': None}),
  ('qwen2', {'layer_types': ['sliding_attention'] * 3}),
  ('qwen2_window', {'layer_types': ['full_attention'] * 2}),
  ('qwen2_window', {'layer_types': ['chunked_attention'] * 3}),
  ('gemma', {'tie_word_embeddings': False}),
  ('gemma', {'use_bidirectional_attention': True}),
  ('gemma', {'hidden_act': 'relu'}),
  ('gpt2', {'scale_attn_weights': False}),
  ('gpt2', {'scale_attn_by_inverse_layer_idx': True}),
  ('gpt2', {'add_cross_attention': True}),
  ('gpt2', {'tie_word_embeddings': False}),
  ('gpt_neox', {'is_decoder': True}),
  ('bert', {'position_embedding_type': 'relative_key'}),
  ('bert', {'is_decoder': True}),
  ('bert', {'add_cross_attention': True}),
  ('bert', {'tie_word_embeddings': False}),
  ('bert', {'pruned_heads': {'1': [0]}}),
  ('roberta', {'pad_token_id': 0}),
  ('t5', {'feed_forward_proj': 'gated-relu'}),
  ('t5_1_1', {'scale_decoder_outputs': True}),
  ('mt5_shared_head', {'transformers_version': '4.57.1'}),
  ('bart', {'decoder_attention_heads': 8}),
  ('bart', {'decoder_ffn_dim': 64}),
  ('bart', {'tie_word_embeddings': False}),
]


@pytest.mark.parametrize(('name', 'changes'), UNSUPPORTED, ids=str)
def test_what_we_do_not_do_is_refused_by_its_key(name, changes):
  config, tensors, _ = recorded(name)
  (key,) = changes
  with refused(f'{config["model_type"]}.{key} = '):
    load(config | changes, tensors)


def test_a_repeated_tensor_must_be_the_same():
  config, tensors, _ = recorded('llama_multi_query')
  table = tensors['model.embed_tokens.weight']
  assert 'lm_head.weight' not in tensors
  load(config, {**tensors, 'lm_head.weight': table.copy()})
  with refused('lm_head.weight differs from model.embed_tokens.weight'):
    load(config, {**tensors, 'lm_head.weight': table + 1})


def test_integers_are_no_weights():
  name = f'{LAYER}.q_proj.weight'
  _, tensors, _ = recorded('llama')
  with refused(f"{name}.dtype = 'int8'"):
    llama({name: tensors[name].astype(np.int8)})


def test_bfloat16_is_read_exactly():
  config, tensors, _ = recorded('llama')
  halved = {
    name: value.astype(ml_dtypes.bfloat16) for name, value in tensors.items()
  }
  _, params = load(config, halved)
  _, same = load(
    config, {name: value.astype('f') for name, value in halved.items()}
  )
  jax.tree.map(np.testing.assert_array_equal, params, same)
  assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype('f')}


def test_the_model_may_be_changed():
  config, tensors, arrays = recorded('llama')
  plain, _ = load(config, tensors)
  model, params = load(config, tensors, remat='full', dtype='bfloat16')
  assert model == dataclasses.replace(plain, remat='full', dtype='bfloat16')
  assert 1e-3 < np.median(errors(model, params, arrays)) < 0.1
  with refused('Decoder has no dtyp', 'dtype'):
    load(config, tensors, dtyp='bfloat16')
  with refused('Decoder.dtype'):
    load(config, tensors, dtype='float16')


def test_a_parameter_without_a_row_is_refused():
  config, tensors, _ = recorded('gpt2')
  rotary = load(*recorded('llama')[:2])[0]
  with refused('1 tensor (transformer.wpe.weight) left over'):
    load(config, tensors, positions=rotary.positions)
  with refused('layers/attention/key_norm/', ': no tensor'):
    norms = dataclasses.replace(rotary.attention, query_key_norm='head')
    load(config, tensors, attention=norms)


@pytest.mark.parametrize('name', sorted(FAMILIES))
def test_a_config_without_sizes_is_refused(name):
  with refused(f'{name}.'):
    FAMILIES[name].model(Release({'model_type': name}, {}))
