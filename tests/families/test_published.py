"""Configs as the releases have them: sizes, by the number of parameters."""

import jax
import pytest

from tpu_lm.families.load import FAMILIES
from tpu_lm.families.release import Release
from tpu_lm.tree import count

BERT = {
  'attention_probs_dropout_prob': 0.1,
  'hidden_act': 'gelu',
  'hidden_dropout_prob': 0.1,
  'hidden_size': 768,
  'intermediate_size': 3072,
  'num_attention_heads': 12,
  'num_hidden_layers': 12,
  'transformers_version': '4.6.0.dev0',
}
T5 = {
  'd_ff': 2048,
  'd_kv': 64,
  'd_model': 512,
  'decoder_start_token_id': 0,
  'dropout_rate': 0.1,
  'is_encoder_decoder': True,
  'layer_norm_epsilon': 1e-06,
  'model_type': 't5',
  'num_heads': 8,
  'num_layers': 6,
  'relative_attention_num_buckets': 32,
  'vocab_size': 32128,
}
T5_1_1 = {
  'd_ff': 1024,
  'feed_forward_proj': 'gated-gelu',
  'num_decoder_layers': 8,
  'num_heads': 6,
  'num_layers': 8,
  'tie_word_embeddings': False,
}
GEMMA = {
  'attention_bias': False,
  'head_dim': 256,
  'hidden_activation': 'gelu_pytorch_tanh',
  'hidden_size': 2048,
  'intermediate_size': 16384,
  'model_type': 'gemma',
  'num_attention_heads': 8,
  'num_hidden_layers': 18,
  'num_key_value_heads': 1,
  'rms_norm_eps': 1e-06,
  'rope_scaling': None,
  'rope_theta': 10000.0,
  'vocab_size': 256000,
}
LLAMA = {
  'hidden_act': 'silu',
  'hidden_size': 4096,
  'intermediate_size': 11008,
  'max_position_embeddings': 4096,
  'model_type': 'llama',
  'num_attention_heads': 32,
  'num_hidden_layers': 32,
  'num_key_value_heads': 32,
  'pretraining_tp': 1,
  'rms_norm_eps': 1e-05,
  'rope_scaling': None,
  'tie_word_embeddings': False,
  'torch_dtype': 'float16',
  'vocab_size': 32000,
}
# Parameters of the release, and how many of them ours does not keep.
RELEASES = {
  'bert-base-uncased': (
    BERT
    | {
      'gradient_checkpointing': False,
      'layer_norm_eps': 1e-12,
      'max_position_embeddings': 512,
      'model_type': 'bert',
      'position_embedding_type': 'absolute',
      'type_vocab_size': 2,
      'vocab_size': 30522,
    },
    109_514_298,
    2 * 768,  # kinds of text
  ),
  'roberta-base': (
    BERT
    | {
      'layer_norm_eps': 1e-05,
      'max_position_embeddings': 514,
      'model_type': 'roberta',
      'pad_token_id': 1,
      'type_vocab_size': 1,
      'vocab_size': 50265,
    },
    124_697_433,
    3 * 768,  # a kind of text, positions before the first
  ),
  't5-small': (T5 | {'n_positions': 512}, 60_506_624, 0),
  't5-v1_1-small': (T5 | T5_1_1, 76_961_152, 0),
  'mt5-small': (
    T5 | T5_1_1 | {'model_type': 'mt5', 'vocab_size': 250112},
    300_176_768,
    0,
  ),
  'byt5-small': (
    T5
    | T5_1_1
    | {
      'd_ff': 3584,
      'd_model': 1472,
      'num_decoder_layers': 4,
      'num_layers': 12,
      'vocab_size': 384,
    },
    299_637_760,
    0,
  ),
  'bart-base': (
    {
      'activation_function': 'gelu',
      'add_bias_logits': False,
      'add_final_layer_norm': False,
      'd_model': 768,
      'decoder_attention_heads': 12,
      'decoder_ffn_dim': 3072,
      'decoder_layers': 6,
      'encoder_attention_heads': 12,
      'encoder_ffn_dim': 3072,
      'encoder_layers': 6,
      'max_position_embeddings': 1024,
      'model_type': 'bart',
      'normalize_before': False,
      'normalize_embedding': True,
      'num_hidden_layers': 6,
      'scale_embedding': False,
      'vocab_size': 50265,
    },
    139_420_416,
    2 * 2 * 768,  # positions before the first, of both sides
  ),
  'gpt2': (
    {
      'activation_function': 'gelu_new',
      'layer_norm_epsilon': 1e-05,
      'model_type': 'gpt2',
      'n_ctx': 1024,
      'n_embd': 768,
      'n_head': 12,
      'n_layer': 12,
      'n_positions': 1024,
      'task_specific_params': {'text-generation': {'do_sample': True}},
      'vocab_size': 50257,
    },
    124_439_808,
    0,
  ),
  'Llama-2-7b': (LLAMA, 6_738_415_616, 0),
  'Mistral-7B-v0.1': (
    LLAMA
    | {
      'intermediate_size': 14336,
      'model_type': 'mistral',
      'num_key_value_heads': 8,
      'rope_theta': 10000.0,
      'sliding_window': 4096,
    },
    7_241_732_096,
    0,
  ),
  'pythia-160m': (
    {
      'hidden_act': 'gelu',
      'hidden_size': 768,
      'intermediate_size': 3072,
      'layer_norm_eps': 1e-05,
      'model_type': 'gpt_neox',
      'num_attention_heads': 12,
      'num_hidden_layers': 12,
      'rotary_emb_base': 10000,
      'rotary_pct': 0.25,
      'tie_word_embeddings': False,
      'use_parallel_residual': True,
      'vocab_size': 50304,
    },
    162_322_944,
    0,
  ),
  'Qwen2-0.5B': (
    LLAMA
    | {
      'hidden_size': 896,
      'intermediate_size': 4864,
      'max_window_layers': 24,
      'model_type': 'qwen2',
      'num_attention_heads': 14,
      'num_hidden_layers': 24,
      'num_key_value_heads': 2,
      'rope_theta': 1000000.0,
      'sliding_window': 131072,
      'tie_word_embeddings': True,
      'use_sliding_window': False,
      'vocab_size': 151936,
    },
    494_032_768,
    0,
  ),
  'Qwen3-0.6B': (
    LLAMA
    | {
      'attention_bias': False,
      'head_dim': 128,
      'hidden_size': 1024,
      'intermediate_size': 3072,
      'max_window_layers': 28,
      'model_type': 'qwen3',
      'num_attention_heads': 16,
      'num_hidden_layers': 28,
      'num_key_value_heads': 8,
      'rope_theta': 1000000,
      'sliding_window': None,
      'tie_word_embeddings': True,
      'use_sliding_window': False,
      'vocab_size': 151936,
    },
    596_049_920,
    0,
  ),
  'OLMo-2-0425-1B': (
    LLAMA
    | {
      'attention_bias': False,
      'hidden_size': 2048,
      'intermediate_size': 8192,
      'model_type': 'olmo2',
      'num_attention_heads': 16,
      'num_hidden_layers': 16,
      'num_key_value_heads': 16,
      'rms_norm_eps': 1e-06,
      'rope_theta': 500000,
      'vocab_size': 100352,
    },
    1_484_916_736,
    0,
  ),
  'gemma-2b': (GEMMA | {'hidden_act': 'gelu'}, 2_506_172_416, 0),
  'gemma-2-2b': (
    GEMMA
    | {
      'attn_logit_softcapping': 50.0,
      'cache_implementation': 'hybrid',
      'final_logit_softcapping': 30.0,
      'hidden_act': 'gelu_pytorch_tanh',
      'hidden_size': 2304,
      'intermediate_size': 9216,
      'model_type': 'gemma2',
      'num_hidden_layers': 26,
      'num_key_value_heads': 4,
      'query_pre_attn_scalar': 256,
      'sliding_window': 4096,
    },
    2_614_341_888,
    0,
  ),
}


@pytest.mark.parametrize('name', RELEASES)
def test_parameters_of_a_release(name):
  config, parameters, left_out = RELEASES[name]
  model = FAMILIES[config['model_type']].model(Release(config, {}))
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  assert count(shapes) == parameters - left_out


def test_every_family_is_here():
  assert {config['model_type'] for config, _, _ in RELEASES.values()} == set(
    FAMILIES
  )
