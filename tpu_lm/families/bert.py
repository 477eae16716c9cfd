"""BERT and RoBERTa: an encoder with norms after the sublayers.

Devlin et al. (2019), "BERT", section 3; Liu et al. (2019), "RoBERTa". BERT
adds a vector for the first or second of two texts to each token. Ours reads
one text, so the first of these vectors is added to every position's.
"""

import numpy as np

from tpu_lm.blocks.attention import Attention
from tpu_lm.blocks.embeddings import Input
from tpu_lm.blocks.feed_forward import FeedForward
from tpu_lm.blocks.heads import MaskedLM
from tpu_lm.blocks.norms import Layer
from tpu_lm.blocks.positions import Learned
from tpu_lm.blocks.residual import Post
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
from tpu_lm.models.encoder import Encoder

# RoBERTa's positions begin behind that of its padding token, which is 1.
OFFSET = 2
TOKENS = 'embeddings.word_embeddings.weight'


def _encoder(release: Release, length: int, activation: str) -> Encoder:
  """The encoder of both; `activation` is that of the head, in our words."""
  release.only('position_embedding_type', 'absolute')
  release.only('is_decoder', False)
  release.only('add_cross_attention', False)
  release.only('tie_word_embeddings', True)
  release.only('pruned_heads', {})
  embed = release.size('hidden_size')
  count = release.size('num_attention_heads')
  norm = Layer(release.number('layer_norm_eps', 1e-12))
  return Encoder(
    vocabulary=release.size('vocab_size'),
    layers=release.size('num_hidden_layers'),
    embed=embed,
    heads=count,
    kv_heads=count,
    head_dim=embed // count,
    mlp=release.size('intermediate_size'),
    norm=norm,
    positions=Learned(length),
    attention=Attention(bias=True, out_bias=True),
    feed_forward=FeedForward(
      release.activation('hidden_act', 'gelu'), gated=False, bias=True
    ),
    residual=Post(),
    embedding=Input(norm=norm),
    head=MaskedLM(activation, norm),
    dtype='float32',
  )


def _bert(release: Release) -> Encoder:
  length = release.size('max_position_embeddings')
  return _encoder(release, length, release.activation('hidden_act', 'gelu'))


def _roberta(release: Release) -> Encoder:
  release.only('pad_token_id', OFFSET - 1)
  length = release.size('max_position_embeddings') - OFFSET
  return _encoder(release, length, 'gelu')


def _positions(shape: Shape, table: Tensor, types: Tensor) -> np.ndarray:
  """A table of positions plus the vector of the first text."""
  return table.shaped(*shape) + types.shaped(None, shape[1])[0]


def _offset_positions(shape: Shape, table: Tensor, types: Tensor) -> np.ndarray:
  """The same without the rows before the first position."""
  length, embed = shape
  positions = table.shaped(OFFSET + length, embed)[OFFSET:]
  return positions + types.shaped(None, embed)[0]


def _rows(prefix: str, read_positions) -> tuple[Row, ...]:
  """The rows below the head."""
  layer = f'{prefix}.encoder.layer.{{layer}}'
  within = f'{layer}.attention.self'
  tables = f'{prefix}.embeddings'
  return (
    Row('embedding/table', f'{prefix}.{TOKENS}', kept),
    Row(
      'positions/table',
      (
        f'{tables}.position_embeddings.weight',
        f'{tables}.token_type_embeddings.weight',
      ),
      read_positions,
    ),
    *affine('embedding_norm', f'{tables}.LayerNorm'),
    *linear('layers/attention/query', f'{within}.query', into),
    *linear('layers/attention/key', f'{within}.key', into),
    *linear('layers/attention/value', f'{within}.value', into),
    *linear('layers/attention/out', f'{layer}.attention.output.dense', out),
    *affine('layers/attention_norm', f'{layer}.attention.output.LayerNorm'),
    *linear('layers/feed_forward/up', f'{layer}.intermediate.dense', into),
    *linear('layers/feed_forward/down', f'{layer}.output.dense', out),
    *affine('layers/feed_forward_norm', f'{layer}.output.LayerNorm'),
  )


BERT_ROWS = (
  *_rows('bert', _positions),
  *linear('head/dense', 'cls.predictions.transform.dense', into),
  *affine('head/norm', 'cls.predictions.transform.LayerNorm'),
  Row('head/bias', 'cls.predictions.bias', kept),
)
ROBERTA_ROWS = (
  *_rows('roberta', _offset_positions),
  *linear('head/dense', 'lm_head.dense', into),
  *affine('head/norm', 'lm_head.layer_norm'),
  Row('head/bias', 'lm_head.bias', kept),
)
IGNORED = {
  r'\.embeddings\.position_ids$': 'a buffer: 0, 1, 2 and so on',
  r'\.pooler\.': 'a layer for classification, which no token is read from',
}
FAMILIES = {
  'bert': Family(
    _bert,
    BERT_ROWS,
    copies={
      'cls.predictions.decoder.weight': f'bert.{TOKENS}',
      'cls.predictions.decoder.bias': 'cls.predictions.bias',
    },
    ignored=IGNORED
    | {r'^cls\.seq_relationship\.': 'the head for the next sentence'},
    # How the first releases call the scale and bias of a norm.
    renames=(
      (r'LayerNorm\.gamma$', 'LayerNorm.weight'),
      (r'LayerNorm\.beta$', 'LayerNorm.bias'),
    ),
  ),
  'roberta': Family(
    _roberta,
    ROBERTA_ROWS,
    copies={
      'lm_head.decoder.weight': f'roberta.{TOKENS}',
      'lm_head.decoder.bias': 'lm_head.bias',
    },
    ignored=IGNORED,
  ),
}
