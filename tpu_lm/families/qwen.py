"""Qwen 2 and 3: Llama with biases, and with normed queries and keys.

Yang et al. (2024), "Qwen2 Technical Report", section 2.2.1; Yang et al. (2025),
"Qwen3 Technical Report", section 2. Qwen 2.5 is a Qwen 2 in its config.
"""

from tpu_lm.blocks.attention import Attention
from tpu_lm.blocks.feed_forward import FeedForward
from tpu_lm.blocks.norms import RMS
from tpu_lm.checks import require
from tpu_lm.families import llama_kind
from tpu_lm.families.release import Release
from tpu_lm.families.table import Family
from tpu_lm.models.decoder import Decoder


def _decoder(release: Release, head_dim: int | None, **attention) -> Decoder:
  release.size('num_key_value_heads')  # its default is 32, whatever the heads
  return Decoder(
    **llama_kind.sizes(release, head_dim),
    norm=RMS(release.number('rms_norm_eps', 1e-6)),
    positions=llama_kind.rotary(release),
    attention=Attention(windows=_windows(release), **attention),
    feed_forward=FeedForward(release.activation('hidden_act', 'silu')),
    head=llama_kind.head(release, tied=False),
    dtype='float32',
  )


def _windows(release: Release) -> tuple[int, ...]:
  """Where windows are in use, the layers from `max_window_layers` have one."""
  layers = release.size('num_hidden_layers')
  full = [llama_kind.FULL] * layers
  in_use = release.flag('use_sliding_window', False)
  if not in_use or release.null('sliding_window'):
    release.only('layer_types', full)
    return ()
  first = release.get('max_window_layers', 28)
  good = type(first) is int and first >= 0
  key = release.key('max_window_layers')
  require(good, key, first, 'must be an int of at least 0')
  default = full[:first] + [llama_kind.SLIDING] * (layers - first)
  return llama_kind.windows(release, default, 4096)


def _qwen2(release: Release) -> Decoder:
  return _decoder(release, None, bias=True)


def _qwen3(release: Release) -> Decoder:
  bias = release.flag('attention_bias', False)
  return _decoder(release, 128, bias=bias, out_bias=bias, query_key_norm='head')


ROWS = llama_kind.ROWS + llama_kind.norm_rows(
  attention_norm='input_layernorm',
  feed_forward_norm='post_attention_layernorm',
)
FAMILIES = {
  name: Family(model, ROWS, llama_kind.COPIES, llama_kind.IGNORED)
  for name, model in (('qwen2', _qwen2), ('qwen3', _qwen3))
}
