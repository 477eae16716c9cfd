"""GPT-NeoX and Pythia: parallel sublayers, partly rotary.

Black et al. (2022), "GPT-NeoX-20B", section 2.1. One matrix makes queries, keys
and values, head by head: its outputs are [H, 3, K].
"""

import functools
import math

import numpy as np

from tpu_lm.blocks.attention import Attention
from tpu_lm.blocks.feed_forward import FeedForward
from tpu_lm.blocks.norms import Layer
from tpu_lm.blocks.positions import Rotary
from tpu_lm.blocks.residual import Parallel, Pre
from tpu_lm.families import llama_kind
from tpu_lm.families.release import Release, Tensor
from tpu_lm.families.table import (
  Family,
  Row,
  Shape,
  affine,
  into,
  kept,
  linear,
  out,
)
from tpu_lm.models.decoder import Decoder


def _model(release: Release) -> Decoder:
  release.only('is_decoder', False)
  base, fraction = llama_kind.rope(release, 'rotary_emb_base', 'rotary_pct')
  bias = release.flag('attention_bias', True)
  parallel = release.flag('use_parallel_residual', True)
  return Decoder(
    **llama_kind.sizes(release),
    norm=Layer(release.number('layer_norm_eps', 1e-5)),
    positions=Rotary(
      base=base, fraction=0.25 if fraction is None else fraction
    ),
    attention=Attention(bias=bias, out_bias=bias),
    feed_forward=FeedForward(
      release.activation('hidden_act', 'gelu'), gated=False, bias=True
    ),
    residual=Parallel() if parallel else Pre(),
    head=llama_kind.head(release, tied=False),
    dtype='float32',
  )


def _part(index: int, shape: Shape, tensor: Tensor) -> np.ndarray:
  """One of query, key and value: [H * 3 * K, D] to [D, H, K]."""
  embed, heads, head_dim = shape
  fused = tensor.shaped(3 * math.prod(shape[1:]), embed)
  return fused.T.reshape(embed, heads, 3, head_dim)[:, :, index]


def _part_bias(index: int, shape: Shape, tensor: Tensor) -> np.ndarray:
  """One of query, key and value: [H * 3 * K] to [H, K]."""
  heads, head_dim = shape
  return tensor.shaped(3 * math.prod(shape)).reshape(heads, 3, head_dim)[
    :, index
  ]


LAYER = 'gpt_neox.layers.{layer}'
ROWS = (
  Row('embedding/table', 'gpt_neox.embed_in.weight', kept),
  Row('head/table', 'lm_head.weight', kept),
  *affine('final_norm', 'gpt_neox.final_layer_norm'),
  *affine('layers/attention_norm', f'{LAYER}.input_layernorm'),
  *affine('layers/feed_forward_norm', f'{LAYER}.post_attention_layernorm'),
  *(
    Row(
      f'layers/attention/{name}{suffix}',
      f'{LAYER}.attention.query_key_value.{kind}',
      functools.partial(read, index),
    )
    for index, name in enumerate(('query', 'key', 'value'))
    for suffix, kind, read in (
      ('', 'weight', _part),
      ('_bias', 'bias', _part_bias),
    )
  ),
  *linear('layers/attention/out', f'{LAYER}.attention.dense', out),
  *linear('layers/feed_forward/up', f'{LAYER}.mlp.dense_h_to_4h', into),
  *linear('layers/feed_forward/down', f'{LAYER}.mlp.dense_4h_to_h', out),
)
FAMILIES = {
  'gpt_neox': Family(
    _model,
    ROWS,
    copies={'lm_head.weight': 'gpt_neox.embed_in.weight'},
    ignored={
      r'\.attention\.(masked_)?bias$': 'a buffer: the causal mask',
      r'\.rotary_emb\.inv_freq$': 'a buffer: it follows from the config',
    },
    # The head's name before transformers 5.
    renames=((r'^embed_out\.', 'lm_head.'),),
  )
}
