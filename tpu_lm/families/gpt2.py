"""GPT-2: pre-norm with biases, learned positions.

Radford et al. (2019), "Language Models are Unsupervised Multitask Learners",
section 2.3. Its layers keep their weights as [inputs, outputs].
"""

import functools
import math

import numpy as np

from tpu_lm.blocks.attention import Attention
from tpu_lm.blocks.feed_forward import FeedForward
from tpu_lm.blocks.norms import Layer
from tpu_lm.blocks.positions import Learned
from tpu_lm.families.release import Release, Tensor
from tpu_lm.families.table import Family, Row, Shape, affine, flat, kept
from tpu_lm.models.decoder import Decoder


def _model(release: Release) -> Decoder:
  release.only('scale_attn_weights', True)
  release.only('scale_attn_by_inverse_layer_idx', False)
  release.only('add_cross_attention', False)
  release.only('tie_word_embeddings', True)
  embed, count = release.size('n_embd'), release.size('n_head')
  return Decoder(
    vocabulary=release.size('vocab_size'),
    layers=release.size('n_layer'),
    embed=embed,
    heads=count,
    kv_heads=count,
    head_dim=embed // count,
    mlp=release.size('n_inner', 4 * embed),
    norm=Layer(release.number('layer_norm_epsilon', 1e-5)),
    positions=Learned(release.size('n_positions')),
    attention=Attention(bias=True, out_bias=True),
    feed_forward=FeedForward(
      release.activation('activation_function', 'gelu_new'),
      gated=False,
      bias=True,
    ),
    dtype='float32',
  )


def _part(index: int, shape: Shape, tensor: Tensor) -> np.ndarray:
  """One of query, key and value: [D, 3 * H * K] to [D, H, K]."""
  inputs, *outputs = shape
  fused = tensor.shaped(inputs, 3 * math.prod(outputs))
  return fused.reshape(inputs, 3, *outputs)[:, index]


def _part_bias(index: int, shape: Shape, tensor: Tensor) -> np.ndarray:
  """One of query, key and value: [3 * H * K] to [H, K]."""
  return tensor.shaped(3 * math.prod(shape)).reshape(3, *shape)[index]


def _merged(shape: Shape, tensor: Tensor) -> np.ndarray:
  """[H * K, D] to [H, K, D]."""
  *inputs, outputs = shape
  return tensor.shaped(math.prod(inputs), outputs).reshape(shape)


LAYER = 'transformer.h.{layer}'
ROWS = (
  Row('embedding/table', 'transformer.wte.weight', kept),
  Row('positions/table', 'transformer.wpe.weight', kept),
  *affine('final_norm', 'transformer.ln_f'),
  *affine('layers/attention_norm', f'{LAYER}.ln_1'),
  *affine('layers/feed_forward_norm', f'{LAYER}.ln_2'),
  *(
    Row(
      f'layers/attention/{name}{suffix}',
      f'{LAYER}.attn.c_attn.{kind}',
      functools.partial(read, index),
    )
    for index, name in enumerate(('query', 'key', 'value'))
    for suffix, kind, read in (
      ('', 'weight', _part),
      ('_bias', 'bias', _part_bias),
    )
  ),
  Row('layers/attention/out', f'{LAYER}.attn.c_proj.weight', _merged),
  Row('layers/attention/out_bias', f'{LAYER}.attn.c_proj.bias', flat),
  Row('layers/feed_forward/up', f'{LAYER}.mlp.c_fc.weight', kept),
  Row('layers/feed_forward/up_bias', f'{LAYER}.mlp.c_fc.bias', flat),
  Row('layers/feed_forward/down', f'{LAYER}.mlp.c_proj.weight', kept),
  Row('layers/feed_forward/down_bias', f'{LAYER}.mlp.c_proj.bias', flat),
)
FAMILIES = {
  'gpt2': Family(
    _model,
    ROWS,
    copies={'lm_head.weight': 'transformer.wte.weight'},
    ignored={r'\.attn\.(masked_)?bias$': 'a buffer: the causal mask'},
    # The first releases are of the model without its head.
    renames=((r'^(wte|wpe|h|ln_f)\.', r'transformer.\1.'),),
  )
}
