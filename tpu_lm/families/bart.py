"""BART: an encoder-decoder with norms after the sublayers.

Lewis et al. (2020), "BART", section 2.1: a Transformer as first published with
GELU and learned positions. mBART differs, and is not read.
"""

import numpy as np

from tpu_lm.blocks.attention import Attention
from tpu_lm.blocks.embeddings import Input
from tpu_lm.blocks.feed_forward import FeedForward
from tpu_lm.blocks.heads import Tied
from tpu_lm.blocks.norms import Layer
from tpu_lm.blocks.positions import Learned
from tpu_lm.blocks.residual import Post
from tpu_lm.checks import require
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
from tpu_lm.models.encoder_decoder import EncoderDecoder

# Rows of the table of positions before the first position.
OFFSET = 2
BIAS = 'final_logits_bias'


def _model(release: Release) -> EncoderDecoder:
  release.only('is_decoder', False)
  release.only('tie_word_embeddings', True)
  embed = release.size('d_model')
  count = _of_both(release, 'attention_heads')
  scaled = release.flag('scale_embedding', False)
  norm = Layer(1e-5)  # torch's default: no key has it
  return EncoderDecoder(
    vocabulary=release.size('vocab_size'),
    encoder_layers=release.size('encoder_layers'),
    layers=release.size('decoder_layers'),
    embed=embed,
    heads=count,
    kv_heads=count,
    head_dim=embed // count,
    mlp=_of_both(release, 'ffn_dim'),
    norm=norm,
    positions=Learned(release.size('max_position_embeddings')),
    attention=Attention(bias=True, out_bias=True),
    feed_forward=FeedForward(
      release.activation('activation_function', 'gelu'), gated=False, bias=True
    ),
    residual=Post(),
    embedding=Input(scale='sqrt' if scaled else 1.0, norm=norm),
    # A buffer of zeros unless somebody set it; not every release has it.
    head=Tied(bias=BIAS in release.tensors),
    dtype='float32',
  )


def _of_both(release: Release, name: str) -> int:
  """A size that encoder and decoder must share."""
  encoder = release.size(f'encoder_{name}')
  decoder = release.size(f'decoder_{name}')
  told = f'must be encoder_{name} = {encoder}'
  require(encoder == decoder, release.key(f'decoder_{name}'), decoder, told)
  return encoder


def _positions(shape: Shape, table: Tensor) -> np.ndarray:
  """[2 + P, D] to [P, D]."""
  length, embed = shape
  return table.shaped(OFFSET + length, embed)[OFFSET:]


def _logits_bias(shape: Shape, bias: Tensor) -> np.ndarray:
  """[1, V] to [V]."""
  return bias.shaped(1, *shape)[0]


def _attention(ours: str, theirs: str) -> tuple[Row, ...]:
  """The rows of an attention layer and its norm."""
  return (
    *linear(f'{ours}/query', f'{theirs}.q_proj', into),
    *linear(f'{ours}/key', f'{theirs}.k_proj', into),
    *linear(f'{ours}/value', f'{theirs}.v_proj', into),
    *linear(f'{ours}/out', f'{theirs}.out_proj', out),
    *affine(f'{ours}_norm', f'{theirs}_layer_norm'),
  )


def _stack(side: str) -> tuple[Row, ...]:
  """The rows of one side, but for attention to the other."""
  theirs = f'model.{side}'
  layer, ours = f'{theirs}.layers.{{layer}}', f'{side}/layers'
  table = f'{theirs}.embed_positions.weight'
  return (
    Row(f'{side}/positions/table', table, _positions),
    *affine(f'{side}/embedding_norm', f'{theirs}.layernorm_embedding'),
    *_attention(f'{ours}/attention', f'{layer}.self_attn'),
    *linear(f'{ours}/feed_forward/up', f'{layer}.fc1', into),
    *linear(f'{ours}/feed_forward/down', f'{layer}.fc2', out),
    *affine(f'{ours}/feed_forward_norm', f'{layer}.final_layer_norm'),
  )


SHARED = 'model.shared.weight'
ROWS = (
  Row('embedding/table', SHARED, kept),
  Row('head/bias', BIAS, _logits_bias),
  *_stack('encoder'),
  *_stack('decoder'),
  *_attention(
    'decoder/layers/cross_attention',
    'model.decoder.layers.{layer}.encoder_attn',
  ),
)
FAMILIES = {
  'bart': Family(
    _model,
    ROWS,
    copies={
      'lm_head.weight': SHARED,
      'model.encoder.embed_tokens.weight': SHARED,
      'model.decoder.embed_tokens.weight': SHARED,
    },
    ignored={},
    # Some releases are of the model without its head.
    renames=((r'^(shared|encoder|decoder)\.', r'model.\1.'),),
  )
}
