"""What is recorded: one small config for each thing a family can differ in."""

from typing import Any, NamedTuple

VOCABULARY = 96
LENGTH = 20  # of decoders and encoders
TARGET_LENGTH = 12  # of the decoder side of an encoder-decoder

EPSILON = 0.01  # so large that it shows


class Case(NamedTuple):
  """One recorded model.

  Attributes:
    model_type: the family.
    changes: keys of its config that are not the default of `transformers`.
    separate_head: whether the checkpoint has a head of its own although its
      config, as transformers 5 writes it, says that it is shared.
  """

  model_type: str
  changes: dict[str, Any]
  separate_head: bool = False


BERT = {
  'layer_norm_eps': EPSILON,
  'hidden_size': 32,
  'num_hidden_layers': 2,
  'num_attention_heads': 4,
  'intermediate_size': 80,
  'max_position_embeddings': 32,
}
T5 = {
  'layer_norm_epsilon': EPSILON,
  'd_model': 32,
  'd_kv': 12,  # heads * d_kv is not d_model
  'd_ff': 72,
  'num_layers': 2,
  'num_decoder_layers': 3,
  'num_heads': 4,
  # So few that the distances of 20 tokens fill all of them.
  'relative_attention_num_buckets': 12,
  'relative_attention_max_distance': 16,
}
BART = {
  'd_model': 32,
  'encoder_layers': 2,
  'decoder_layers': 3,
  'encoder_attention_heads': 4,
  'decoder_attention_heads': 4,
  'encoder_ffn_dim': 80,
  'decoder_ffn_dim': 80,
  'max_position_embeddings': 24,
}
GPT2 = {
  'layer_norm_epsilon': EPSILON,
  'n_embd': 32,
  'n_layer': 2,
  'n_head': 4,
  'n_positions': 24,
}
LLAMA = {
  'rms_norm_eps': EPSILON,
  'hidden_size': 32,
  'intermediate_size': 72,
  'num_hidden_layers': 3,
  'num_attention_heads': 4,
  'num_key_value_heads': 2,
}
NEOX = {
  'layer_norm_eps': EPSILON,
  'hidden_size': 64,
  'intermediate_size': 112,
  'num_hidden_layers': 2,
  'num_attention_heads': 4,
}
ROPE = {'rope_type': 'default', 'rope_theta': 500.0}

CASES = {
  'bert': Case('bert', BERT),
  'bert_tanh': Case('bert', BERT | {'hidden_act': 'gelu_new'}),
  'roberta': Case(
    'roberta',
    BERT | {'type_vocab_size': 1},
  ),
  't5': Case('t5', T5),
  't5_1_1': Case(
    't5',
    T5 | {'feed_forward_proj': 'gated-gelu', 'tie_word_embeddings': False},
    separate_head=True,
  ),
  'mt5': Case('mt5', T5 | {'num_decoder_layers': 2}, separate_head=True),
  'mt5_shared_head': Case('mt5', T5),
  'bart': Case('bart', BART),
  'bart_scaled': Case('bart', BART | {'scale_embedding': True}),
  'gpt2': Case('gpt2', GPT2),
  'gpt2_inner': Case(
    'gpt2', GPT2 | {'n_inner': 56, 'activation_function': 'relu'}
  ),
  'llama': Case('llama', LLAMA | {'num_key_value_heads': 4}),
  'llama_grouped': Case('llama', LLAMA | {'rope_parameters': ROPE}),
  'llama_multi_query': Case(
    'llama',
    LLAMA | {'num_key_value_heads': 1, 'tie_word_embeddings': True},
  ),
  'llama_wide_heads': Case('llama', LLAMA | {'head_dim': 20}),
  'llama_biased': Case(
    'llama',
    LLAMA | {'attention_bias': True, 'mlp_bias': True},
  ),
  'mistral': Case('mistral', LLAMA | {'sliding_window': 6}),
  'mistral_unlimited': Case('mistral', LLAMA | {'sliding_window': None}),
  'gpt_neox': Case('gpt_neox', NEOX),
  'gpt_neox_sequential': Case(
    'gpt_neox',
    NEOX
    | {
      'use_parallel_residual': False,
      'hidden_act': 'gelu_fast',
      'rope_parameters': ROPE | {'partial_rotary_factor': 1.0},
    },
  ),
  'qwen2': Case('qwen2', LLAMA),
  'qwen2_window': Case(
    'qwen2',
    LLAMA
    | {'use_sliding_window': True, 'sliding_window': 6, 'max_window_layers': 2},
  ),
  'qwen3': Case(
    'qwen3',
    LLAMA
    | {
      'head_dim': 12,
      'tie_word_embeddings': True,
      'attention_bias': True,
      'use_sliding_window': True,
      'sliding_window': 6,
      'max_window_layers': 1,
    },
  ),
  'olmo2': Case('olmo2', LLAMA),
  'gemma': Case('gemma', LLAMA | {'head_dim': 20, 'num_key_value_heads': 1}),
  'gemma2': Case(
    'gemma2',
    LLAMA
    | {
      'head_dim': 12,
      'query_pre_attn_scalar': 20,
      'sliding_window': 6,
      # Low enough to bend what passes through them.
      'attn_logit_softcapping': 2.0,
      'final_logit_softcapping': 5.0,
    },
  ),
}
