"""Releases differ: in what else they hold, in names, in keys, in heads."""

import jax
import numpy as np
import pytest

from tests.families.parity import recorded
from tests.families.test_load import refused, without
from tpu_lm.families.load import load


@pytest.mark.parametrize(
  ('name', 'extra'),
  [
    ('llama', 'model.layers.0.self_attn.rotary_emb.inv_freq'),
    ('gpt2', 'transformer.h.0.attn.bias'),
    ('gpt2', 'transformer.h.1.attn.masked_bias'),
    ('gpt_neox', 'gpt_neox.layers.0.attention.bias'),
    ('gpt_neox', 'gpt_neox.layers.0.attention.masked_bias'),
    ('gpt_neox', 'gpt_neox.layers.0.attention.rotary_emb.inv_freq'),
    ('bert', 'bert.pooler.dense.weight'),
    ('bert', 'cls.seq_relationship.bias'),
    ('bert', 'bert.embeddings.position_ids'),
    ('roberta', 'roberta.pooler.dense.bias'),
    (
      't5',
      'decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight',
    ),
  ],
)
def test_what_is_left_aside(name, extra):
  config, tensors, _ = recorded(name)
  model, params = load(config, tensors)
  also, same = load(config, {**tensors, extra: np.ones((3, 2), np.int64)})
  assert also == model
  jax.tree.map(np.testing.assert_array_equal, same, params)


# How the same release is told by older versions: (case, config changes, keys
# left out, names replaced).
OLDER = [
  (
    'llama_grouped',
    {'rope_theta': 500.0, 'rope_scaling': None},
    ('rope_parameters',),
    (),
  ),
  (
    'gpt_neox',
    {'rotary_pct': 0.25, 'rotary_emb_base': 10000},
    ('rope_parameters',),
    (('lm_head.', 'embed_out.'),),
  ),
  ('gpt2', {}, (), (('transformer.', ''),)),
  ('bart', {}, (), (('model.', ''),)),
  (
    'bert',
    {'position_embedding_type': 'absolute'},
    (),
    (('LayerNorm.weight', 'LayerNorm.gamma'), ('Norm.bias', 'Norm.beta')),
  ),
  ('t5', {}, ('scale_decoder_outputs', 'tie_word_embeddings'), ()),
  ('t5', {'tie_word_embeddings': True}, ('scale_decoder_outputs',), ()),
  ('t5_1_1', {'tie_word_embeddings': False}, ('scale_decoder_outputs',), ()),
  (
    'mt5',
    {'tie_word_embeddings': False, 'transformers_version': '4.57.1'},
    (),
    (),
  ),
  ('gemma', {'hidden_act': 'gelu'}, (), ()),
  ('gemma', {'hidden_activation': 'gelu_pytorch_tanh'}, ('hidden_act',), ()),
  (
    'qwen2',
    {'sliding_window': 4096, 'max_window_layers': 1},
    ('layer_types',),
    (),
  ),
  ('llama', {'pretraining_tp': 2, '_name_or_path': 'somewhere'}, (), ()),
]


@pytest.mark.parametrize(('name', 'changes', 'left_out', 'names'), OLDER)
def test_older_releases_are_read_the_same(name, changes, left_out, names):
  config, tensors, _ = recorded(name)
  model, params = load(config, tensors)
  older = without(config, *left_out) | changes
  assert older != config or names
  renamed = {}
  for theirs, value in tensors.items():
    for new, old in names:
      theirs = theirs.replace(new, old)
    renamed[theirs] = value
  assert not names or renamed.keys() != tensors.keys()
  also, same = load(older, renamed)
  assert also == model
  jax.tree.map(np.testing.assert_array_equal, same, params)


def test_two_tensors_of_one_name_are_refused():
  config, tensors, _ = recorded('gpt2')
  table = tensors['transformer.wte.weight']
  with refused('wte.weight: there is another tensor'):
    load(config, {**tensors, 'wte.weight': table})


def test_a_bias_of_logits_may_be_absent():
  config, tensors, _ = recorded('bart')
  model, _ = load(config, without(tensors, 'final_logits_bias'))
  assert not model.head.bias


def test_the_head_of_a_release_decides():
  """A config of transformers 5 says `shared` whatever the tensors hold."""
  config, tensors, _ = recorded('mt5')
  assert config['tie_word_embeddings']
  _, params = load(config, tensors)
  np.testing.assert_array_equal(
    params['head']['table'], tensors['lm_head.weight']
  )
  model, params = load(config, without(tensors, 'lm_head.weight'))
  assert 'head' not in params
  shared = {**tensors, 'lm_head.weight': tensors['shared.weight']}
  assert load(config, shared)[0] == model
