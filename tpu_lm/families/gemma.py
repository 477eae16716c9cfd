"""Gemma 1 and 2.

Gemma team (2024), "Gemma", section 2, and "Gemma 2", section 2. That norms
multiply by 1 + scale and that embeddings are multiplied by sqrt(D) is in their
code, not in the papers.
"""

from tpu_lm.blocks.attention import Attention
from tpu_lm.blocks.embeddings import Input
from tpu_lm.blocks.feed_forward import FeedForward
from tpu_lm.blocks.heads import Tied
from tpu_lm.blocks.norms import RMS
from tpu_lm.blocks.residual import Sandwich
from tpu_lm.families import llama_kind
from tpu_lm.families.release import Release
from tpu_lm.families.table import Family
from tpu_lm.models.decoder import Decoder


def _shared(release: Release) -> dict:
  release.size('num_key_value_heads')  # its default is not that of the heads
  release.only('tie_word_embeddings', True)
  release.only('use_bidirectional_attention', False)
  return {
    **llama_kind.sizes(release, head_dim=256),
    'norm': RMS(release.number('rms_norm_eps', 1e-6), one_plus=True),
    'positions': llama_kind.rotary(release),
    'embedding': Input(scale='sqrt'),
    'dtype': 'float32',
  }


def _gemma(release: Release) -> Decoder:
  # The first releases say 'gelu', and mean its approximation by tanh.
  release.only('hidden_act', 'gelu', 'gelu_pytorch_tanh')
  release.only('hidden_activation', 'gelu_pytorch_tanh')
  bias = release.flag('attention_bias', False)
  return Decoder(
    **_shared(release),
    attention=Attention(bias=bias, out_bias=bias),
    feed_forward=FeedForward('gelu_tanh'),
  )


def _gemma2(release: Release) -> Decoder:
  layers = release.size('num_hidden_layers')
  turns = [llama_kind.SLIDING, llama_kind.FULL] * layers
  bias = release.flag('attention_bias', False)
  return Decoder(
    **_shared(release),
    attention=Attention(
      bias=bias,
      out_bias=bias,
      scale=release.number('query_pre_attn_scalar', 256) ** -0.5,
      softcap=_softcap(release, 'attn_logit_softcapping', 50),
      windows=llama_kind.windows(release, turns[:layers], 4096),
    ),
    feed_forward=FeedForward(
      release.activation('hidden_activation', 'gelu_pytorch_tanh')
    ),
    residual=Sandwich(),
    head=Tied(softcap=_softcap(release, 'final_logit_softcapping', 30)),
  )


def _softcap(release: Release, name: str, default: float) -> float | None:
  return None if release.null(name) else release.number(name, default)


GEMMA_ROWS = llama_kind.ROWS + llama_kind.norm_rows(
  attention_norm='input_layernorm',
  feed_forward_norm='post_attention_layernorm',
)
GEMMA2_ROWS = llama_kind.ROWS + llama_kind.norm_rows(
  attention_norm='input_layernorm',
  attention_out_norm='post_attention_layernorm',
  feed_forward_norm='pre_feedforward_layernorm',
  feed_forward_out_norm='post_feedforward_layernorm',
)
FAMILIES = {
  name: Family(model, rows, llama_kind.COPIES, llama_kind.IGNORED)
  for name, model, rows in (
    ('gemma', _gemma, GEMMA_ROWS),
    ('gemma2', _gemma2, GEMMA2_ROWS),
  )
}
