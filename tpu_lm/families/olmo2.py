"""OLMo 2: Llama with norms after the sublayers and over queries and keys.

OLMo team (2024), "2 OLMo 2 Furious", section 2.1.
"""

from tpu_lm.blocks.attention import Attention
from tpu_lm.blocks.feed_forward import FeedForward
from tpu_lm.blocks.norms import RMS
from tpu_lm.blocks.residual import Output
from tpu_lm.families import llama_kind
from tpu_lm.families.release import Release
from tpu_lm.families.table import Family
from tpu_lm.models.decoder import Decoder


def _olmo2(release: Release) -> Decoder:
  bias = release.flag('attention_bias', False)
  return Decoder(
    **llama_kind.sizes(release),
    norm=RMS(release.number('rms_norm_eps', 1e-5)),
    positions=llama_kind.rotary(release),
    attention=Attention(bias=bias, out_bias=bias, query_key_norm='width'),
    feed_forward=FeedForward(release.activation('hidden_act', 'silu')),
    residual=Output(),
    head=llama_kind.head(release, tied=False),
    dtype='float32',
  )


ROWS = llama_kind.ROWS + llama_kind.norm_rows(
  attention_out_norm='post_attention_layernorm',
  feed_forward_out_norm='post_feedforward_layernorm',
)
FAMILIES = {
  'olmo2': Family(_olmo2, ROWS, llama_kind.COPIES, llama_kind.IGNORED)
}
