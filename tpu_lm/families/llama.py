"""Llama and Mistral: pre-norm, rotary, grouped queries, SwiGLU.

Touvron et al. (2023), "LLaMA", section 2.2; Jiang et al. (2023), "Mistral 7B",
section 2, which adds a sliding window.
"""

from tpu_lm.blocks.attention import Attention
from tpu_lm.blocks.feed_forward import FeedForward
from tpu_lm.blocks.norms import RMS
from tpu_lm.families import llama_kind
from tpu_lm.families.release import Release
from tpu_lm.families.table import Family
from tpu_lm.models.decoder import Decoder


def _llama(release: Release) -> Decoder:
  bias = release.flag('attention_bias', False)
  return Decoder(
    **llama_kind.sizes(release),
    norm=RMS(release.number('rms_norm_eps', 1e-6)),
    positions=llama_kind.rotary(release),
    attention=Attention(bias=bias, out_bias=bias),
    feed_forward=FeedForward(
      release.activation('hidden_act', 'silu'),
      bias=release.flag('mlp_bias', False),
    ),
    head=llama_kind.head(release, tied=False),
    dtype='float32',
  )


def _mistral(release: Release) -> Decoder:
  release.only('layer_types')
  release.size('num_key_value_heads')  # its default is 8, whatever the heads
  windows = ()
  if not release.null('sliding_window'):
    windows = (release.size('sliding_window', 4096),)
  return Decoder(
    **llama_kind.sizes(release),
    norm=RMS(release.number('rms_norm_eps', 1e-6)),
    positions=llama_kind.rotary(release),
    attention=Attention(windows=windows),
    feed_forward=FeedForward(release.activation('hidden_act', 'silu')),
    head=llama_kind.head(release, tied=False),
    dtype='float32',
  )


ROWS = llama_kind.ROWS + llama_kind.norm_rows(
  attention_norm='input_layernorm',
  feed_forward_norm='post_attention_layernorm',
)
FAMILIES = {
  name: Family(model, ROWS, llama_kind.COPIES, llama_kind.IGNORED)
  for name, model in (('llama', _llama), ('mistral', _mistral))
}
