"""T5, T5 1.1, mT5 and ByT5: an encoder-decoder with relative positions.

Raffel et al. (2020), "Exploring the Limits of Transfer Learning", section 2.1;
Xue et al. (2021), "mT5", section 3.1; Xue et al. (2022), "ByT5", section 3.1.
T5 shares its head with its embedding and multiplies what the head reads by
D^-0.5; the later ones have a head of their own and do not multiply.

What a config says of the head has changed. Before transformers 5,
`tie_word_embeddings` says both whether the head is shared and whether it
multiplies. Since then it is always true, `scale_decoder_outputs` says whether
T5 multiplies, mT5 never does, and a head is shared unless the tensors hold
another one. So is it read here; an mT5 with a shared head from before, which
would multiply, is refused.
"""

from tpu_lm.blocks.attention import Attention
from tpu_lm.blocks.feed_forward import FeedForward
from tpu_lm.blocks.heads import Separate, Tied
from tpu_lm.blocks.norms import RMS
from tpu_lm.blocks.positions import Relative
from tpu_lm.checks import require
from tpu_lm.families.release import Release
from tpu_lm.families.table import Family, Row, into, kept, out
from tpu_lm.models.encoder_decoder import EncoderDecoder

ACTIVATIONS = {
  'relu': FeedForward('relu', gated=False),
  'gated-gelu': FeedForward('gelu_tanh'),
  'gated-silu': FeedForward('silu'),
}


def _model(release: Release, head, projection: str) -> EncoderDecoder:
  """Both models; `projection` is the default of `feed_forward_proj`."""
  release.only('is_decoder', False)
  kind = release.get('feed_forward_proj', projection)
  told = f'must be one of {", ".join(ACTIVATIONS)}'
  require(
    kind in tuple(ACTIVATIONS), release.key('feed_forward_proj'), kind, told
  )
  layers, count = release.size('num_layers'), release.size('num_heads')
  return EncoderDecoder(
    vocabulary=release.size('vocab_size'),
    encoder_layers=layers,
    layers=release.size('num_decoder_layers', layers),
    embed=release.size('d_model'),
    heads=count,
    kv_heads=count,
    head_dim=release.size('d_kv'),
    mlp=release.size('d_ff'),
    norm=RMS(release.number('layer_norm_epsilon', 1e-6)),
    positions=Relative(
      release.size('relative_attention_num_buckets', 32),
      release.size('relative_attention_max_distance', 128),
    ),
    attention=Attention(scale=1.0),
    feed_forward=ACTIVATIONS[kind],
    head=head,
    dtype='float32',
  )


def _separate(release: Release) -> bool:
  """Whether the head is not the embedding's table."""
  names = 'lm_head.weight', 'shared.weight'
  differs = all(name in release.tensors for name in names)
  differs = differs and not release.equal(*names)
  return differs or not release.flag('tie_word_embeddings', True)


def _t5(release: Release) -> EncoderDecoder:
  tied = release.flag('tie_word_embeddings', True)
  scaled = release.flag('scale_decoder_outputs', tied)
  if _separate(release):
    told = 'is not supported with a head of its own'
    require(not scaled, release.key('scale_decoder_outputs'), scaled, told)
    return _model(release, Separate(), 'relu')
  scale = 'rsqrt' if scaled else 1.0
  return _model(release, Tied(scale=scale), 'relu')


def _mt5(release: Release) -> EncoderDecoder:
  if _separate(release):
    return _model(release, Separate(), 'gated-gelu')
  version = release.get('transformers_version', '')
  told = 'before 5 has other logits of a shared head'
  key = release.key('transformers_version')
  require(isinstance(version, str), key, version, 'must be a string')
  require(version[:2] not in ('3.', '4.'), key, version, told)
  return _model(release, Tied(), 'gated-gelu')


def _attention(ours: str, theirs: str) -> tuple[Row, ...]:
  return (
    Row(f'{ours}/query', f'{theirs}.q.weight', into),
    Row(f'{ours}/key', f'{theirs}.k.weight', into),
    Row(f'{ours}/value', f'{theirs}.v.weight', into),
    Row(f'{ours}/out', f'{theirs}.o.weight', out),
  )


def _stack(side: str, last: int) -> tuple[Row, ...]:
  """The rows of one side; `last` is the place of its feed-forward layer."""
  layer, ours = f'{side}.block.{{layer}}.layer', f'{side}/layers'
  dense = f'{layer}.{last}.DenseReluDense'
  table = f'{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight'
  return (
    Row(f'{side}/positions/table', table, kept),
    Row(f'{side}/final_norm/scale', f'{side}.final_layer_norm.weight', kept),
    *_attention(f'{ours}/attention', f'{layer}.0.SelfAttention'),
    Row(f'{ours}/attention_norm/scale', f'{layer}.0.layer_norm.weight', kept),
    Row(
      f'{ours}/feed_forward_norm/scale',
      f'{layer}.{last}.layer_norm.weight',
      kept,
    ),
    Row(f'{ours}/feed_forward/gate', f'{dense}.wi_0.weight', into),
    Row(f'{ours}/feed_forward/up', f'{dense}.wi_1.weight', into),
    Row(f'{ours}/feed_forward/down', f'{dense}.wo.weight', out),
  )


ROWS = (
  Row('embedding/table', 'shared.weight', kept),
  Row('head/table', 'lm_head.weight', kept),
  *_stack('encoder', last=1),
  *_stack('decoder', last=2),
  *_attention(
    'decoder/layers/cross_attention',
    'decoder.block.{layer}.layer.1.EncDecAttention',
  ),
  Row(
    'decoder/layers/cross_attention_norm/scale',
    'decoder.block.{layer}.layer.1.layer_norm.weight',
    kept,
  ),
)
COPIES = {
  'encoder.embed_tokens.weight': 'shared.weight',
  'decoder.embed_tokens.weight': 'shared.weight',
  'lm_head.weight': 'shared.weight',
}
IGNORED = {
  r'\.EncDecAttention\.relative_attention_bias\.weight$': 'never used: an '
  'early converter wrote it',
}
FAMILIES = {
  name: Family(
    model,
    ROWS,
    COPIES,
    IGNORED,
    # Without a gate there is `wi` alone.
    renames=((r'\.wi\.weight$', '.wi_1.weight'),),
  )
  for name, model in (('t5', _t5), ('mt5', _mt5))
}
