"""What the families after Llama share: sizes, rotation, windows, names."""

from collections.abc import Mapping, Sequence
from typing import Any

from tpu_lm.blocks import heads, positions
from tpu_lm.checks import require
from tpu_lm.families.release import Release
from tpu_lm.families.table import Row, into, kept, linear, out

LAYER = 'model.layers.{layer}'
ATTENTION = f'{LAYER}.self_attn'
# Everything but the norms of a layer, which differ. Rows for biases and for
# norms of queries and keys are passed over where a model has none.
ROWS = (
  Row('embedding/table', 'model.embed_tokens.weight', kept),
  Row('head/table', 'lm_head.weight', kept),
  Row('final_norm/scale', 'model.norm.weight', kept),
  *linear('layers/attention/query', f'{ATTENTION}.q_proj', into),
  *linear('layers/attention/key', f'{ATTENTION}.k_proj', into),
  *linear('layers/attention/value', f'{ATTENTION}.v_proj', into),
  *linear('layers/attention/out', f'{ATTENTION}.o_proj', out),
  Row(
    'layers/attention/query_norm/scale',
    f'{ATTENTION}.q_norm.weight',
    kept,
  ),
  Row(
    'layers/attention/key_norm/scale',
    f'{ATTENTION}.k_norm.weight',
    kept,
  ),
  *linear('layers/feed_forward/gate', f'{LAYER}.mlp.gate_proj', into),
  *linear('layers/feed_forward/up', f'{LAYER}.mlp.up_proj', into),
  *linear('layers/feed_forward/down', f'{LAYER}.mlp.down_proj', out),
)
COPIES = {'lm_head.weight': 'model.embed_tokens.weight'}
IGNORED = {
  r'\.rotary_emb\.inv_freq$': 'a buffer: it follows from the config',
}
FULL, SLIDING = 'full_attention', 'sliding_attention'


def norm_rows(**norms: str) -> tuple[Row, ...]:
  """Rows of a layer's norms: our name by theirs."""
  return tuple(
    Row(f'layers/{ours}/scale', f'{LAYER}.{theirs}.weight', kept)
    for ours, theirs in norms.items()
  )


def sizes(release: Release, head_dim: int | None = None) -> dict[str, int]:
  """The sizes of a decoder.

  Args:
    release: whose config is read.
    head_dim: K where the config has none; by default D / H.
  """
  embed = release.size('hidden_size')
  count = release.size('num_attention_heads')
  return {
    'vocabulary': release.size('vocab_size'),
    'layers': release.size('num_hidden_layers'),
    'embed': embed,
    'heads': count,
    'kv_heads': release.size('num_key_value_heads', count),
    'head_dim': release.size('head_dim', head_dim or embed // count),
    'mlp': release.size('intermediate_size'),
  }


def head(release: Release, tied: bool) -> Any:
  """The head; `tied` is what the family does where its config is silent."""
  tied = release.flag('tie_word_embeddings', tied)
  return heads.Tied() if tied else heads.Separate()


def rotary(release: Release) -> positions.Rotary:
  """Plain rotary positions over all channels.

  The base is in `rope_parameters` since transformers 5 and beside
  `rope_scaling` before.
  """
  base, fraction = rope(release, 'rope_theta', 'partial_rotary_factor')
  told = 'only 1 is supported in this family'
  key = release.key('partial_rotary_factor')
  require(fraction in (None, 1), key, fraction, told)
  return positions.Rotary(base=base)


def rope(
  release: Release, base_key: str, fraction_key: str
) -> tuple[float, float | None]:
  """Base and fraction of a plain rotation.

  Args:
    release: whose config is read.
    base_key: key of the base where it is not in `rope_parameters`.
    fraction_key: key of the fraction of turning channels where it is not.

  Returns:
    The base, and the fraction or None where nothing is said of it.
  """
  base = release.number(base_key, 10_000.0)
  fraction = release.get(fraction_key)
  for name in ('rope_parameters', 'rope_scaling'):
    given = release.get(name, {})
    told = 'must be a dict'
    require(isinstance(given, Mapping), release.key(name), given, told)
    given = dict(given)
    base = given.pop('rope_theta', base)
    fraction = given.pop('partial_rotary_factor', fraction)
    kinds = [given.pop(word, 'default') for word in ('rope_type', 'type')]
    told = 'only plain rotary positions are supported'
    good = kinds == ['default'] * 2 and not given
    require(good, release.key(name), release.get(name), told)
  return base, fraction


def windows(
  release: Release, default: Sequence[str], width: int
) -> tuple[int, ...]:
  """One window a layer, 0 where a query sees all; () if all do.

  Args:
    release: whose config is read.
    default: the kinds of layers where the config has no `layer_types`.
    width: the window where the config has no `sliding_window`.
  """
  kinds = release.get('layer_types', default)
  good = isinstance(kinds, list | tuple)
  good = good and len(kinds) == release.size('num_hidden_layers')
  good = good and all(kind in (FULL, SLIDING) for kind in kinds)
  told = f'must name each layer {FULL} or {SLIDING}'
  require(good, release.key('layer_types'), kinds, told)
  width = release.size('sliding_window', width)
  found = tuple(width if kind == SLIDING else 0 for kind in kinds)
  return found if any(found) else ()
