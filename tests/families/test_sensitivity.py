"""The recorded logits show each thing that a config says."""

import pytest

from tests.families.parity import TOLERANCE, largest_error

# Each changes one thing, and little.
CHANGES = [
  ('bert', {'hidden_act': 'gelu_new'}),
  ('bert', {'layer_norm_eps': 1e-3}),
  ('roberta', {'layer_norm_eps': 1e-3}),
  ('t5', {'relative_attention_max_distance': 12}),
  ('t5', {'scale_decoder_outputs': False}),
  ('t5', {'layer_norm_epsilon': 1e-3}),
  ('t5_1_1', {'feed_forward_proj': 'gated-silu'}),
  ('bart', {'activation_function': 'gelu_new'}),
  ('bart', {'scale_embedding': True}),
  ('gpt2', {'activation_function': 'gelu'}),
  ('gpt2', {'layer_norm_epsilon': 1e-3}),
  ('llama_grouped', {'rope_parameters': {'rope_theta': 600.0}}),
  ('llama_grouped', {'rms_norm_eps': 1e-3}),
  ('mistral', {'sliding_window': 7}),
  ('mistral', {'sliding_window': None}),
  ('gpt_neox', {'rope_parameters': {'partial_rotary_factor': 0.5}}),
  ('gpt_neox', {'use_parallel_residual': False}),
  ('gpt_neox', {'hidden_act': 'gelu_new'}),
  ('gpt_neox', {'layer_norm_eps': 1e-3}),
  ('qwen2_window', {'sliding_window': 7}),
  ('qwen2_window', {'layer_types': None, 'max_window_layers': 1}),
  ('qwen3', {'rms_norm_eps': 1e-3}),
  ('olmo2', {'rms_norm_eps': 1e-3}),
  ('gemma', {'rms_norm_eps': 1e-3}),
  ('gemma2', {'attn_logit_softcapping': 2.1}),
  ('gemma2', {'final_logit_softcapping': None}),
  ('gemma2', {'query_pre_attn_scalar': 21}),
  ('gemma2', {'sliding_window': 7}),
  ('gemma2', {'hidden_activation': 'gelu'}),
]


@pytest.mark.parametrize(('name', 'changes'), CHANGES, ids=str)
def test_a_change_shows(name, changes):
  assert largest_error(name, **changes) > 5 * TOLERANCE
