"""Attention with grouped queries over packed documents."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx

from tpu_lm.blocks import flash, ring, splash
from tpu_lm.blocks.attend import attend
from tpu_lm.blocks.parameter import normal, project, zeros
from tpu_lm.blocks.rotary import rotate
from tpu_lm.blocks.visibility import Visibility, initial, within
from tpu_lm.checks import UserError, check_number, nearest, require
from tpu_lm.shapes import (
  BATCH,
  EMBED,
  HEAD_DIM,
  HEADS,
  KV_HEADS,
  SEQUENCE,
)
from tpu_lm.sharding import constrain, platform

NORMED = (None, 'head', 'width')
SINKS = (None, 'zero', 'learned')
BY_BLOCKS = {'splash': splash, 'flash': flash, 'ring': ring}
AUTO = {'tpu': 'splash', 'gpu': 'flash'}  # by platform
# What may be asked of a kernel, and what is said of one that does not know it.
NEEDS = {
  'bias': 'it adds nothing to logits (relative and ALiBi positions do)',
  'dropout': 'it drops no attention weights',
  'prefix': 'it knows no prefixes',
  'window': 'it knows no windows',
  'initial_tokens': 'it knows no tokens that no window hides',
  'sinks': 'it knows no sinks',
  'softcap': 'it does not cap logits',
}
KERNELS = ('auto', 'plain', *BY_BLOCKS)


@dataclasses.dataclass(frozen=True)
class Attention:
  """What attention layers are, besides their sizes.

  Attributes:
    bias: whether queries, keys and values have one.
    out_bias: whether what comes out has one.
    query_key_norm: 'head' normalises each head's queries and keys (Dehghani et
      al. 2023, section 2; Qwen3), 'width' all heads' together (OLMo 2); None.
    scale: of the logits; None for K^-0.5 (T5: 1).
    softcap: c: logits become c * tanh(logits / c) (Gemma 2), or None.
    windows: how many tokens back a query sees, itself included, and as many
      ahead where it sees both ways; by layer, over and over; 0: all. (4096,) is
      Mistral's, (4096, 0) Gemma 2's. Of self-attention.
    initial_tokens: how many tokens at the beginning of each document no window
      hides: the mask of Han et al. (2023), "LM-Infinite", section 3, and Xiao
      et al. (2023), "StreamingLLM", section 3.2. Positions stay what they are;
      both papers move them as well. None: windows hide all.
    sinks: a logit without a value beside those of the keys, so that a head may
      look at nothing: 'learned' one for each query head, 0 at first (OpenAI
      2025, "gpt-oss model card", section 2.2), or 'zero' for good (Miller
      2023, "Attention Is Off By One"); None. Of attention to an encoder too.
    kernel: 'plain' is written out in XLA and holds all logits; 'splash' (TPUs)
      and 'flash' (GPUs) go through them in blocks; 'auto' is the platform's
      wherever it can be used, else plain. Where the mesh splits sequences
      plain and splash gather all keys of a row on each device; 'ring' passes
      them on instead, and goes through them in blocks. All give the same.
  """

  bias: bool = False
  out_bias: bool = False
  query_key_norm: str | None = None
  scale: float | None = None
  softcap: float | None = None
  windows: tuple[int, ...] = ()
  # None where others have 0: runs begun before it was there go on.
  initial_tokens: int | None = None
  sinks: str | None = None
  kernel: str = 'auto'

  def __post_init__(self):
    for name in ('bias', 'out_bias'):
      value = getattr(self, name)
      require(type(value) is bool, f'Attention.{name}', value, 'must be a bool')
    good = self.query_key_norm in NORMED
    must = f'must be one of {NORMED}'
    require(good, 'Attention.query_key_norm', self.query_key_norm, must)
    for name in ('scale', 'softcap'):
      value = getattr(self, name)
      if value is not None:
        check_number(f'Attention.{name}', value, above=0)
    good = isinstance(self.windows, tuple | list)
    good = good and all(
      type(window) is int and window >= 0 for window in self.windows
    )
    must = 'must be a tuple of ints >= 0'
    require(good, 'Attention.windows', self.windows, must)
    object.__setattr__(self, 'windows', tuple(self.windows))
    if self.initial_tokens is not None:
      count, key = self.initial_tokens, 'Attention.initial_tokens'
      good = type(count) is int and count > 0
      require(good, key, count, 'must be an int > 0, or None')
      must = 'needs a window in Attention.windows: without, all tokens are seen'
      require(any(self.windows), key, count, must)
    hint = f'is not known.{nearest(str(self.sinks), SINKS[1:])}'
    require(self.sinks in SINKS, 'Attention.sinks', self.sinks, hint)
    hint = f'is not known.{nearest(str(self.kernel), KERNELS)}'
    require(self.kernel in KERNELS, 'Attention.kernel', self.kernel, hint)


class AttentionLayer(nnx.Module):
  """Projections around attention.

  Args:
    spec: biases, norms, scale and caps.
    embed: D.
    heads: H query heads.
    kv_heads: N key/value heads; divides H.
    head_dim: K.
    norm: of `norms`, for queries and keys.
    out_stddev: deviation of the output projection's initial values.
    rngs: keys of the initial values.
  """

  def __init__(
    self,
    spec: Attention,
    embed: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    norm,
    out_stddev: float,
    rngs: nnx.Rngs,
  ):
    into = embed**-0.5
    # Queries begin so small that logits have unit variance at any scale (T5
    # has 1, and divides the deviation instead).
    to_query = (
      into if spec.scale is None else into * head_dim**-0.5 / spec.scale
    )
    query_shape, query_axes = (heads, head_dim), (HEADS, HEAD_DIM)
    kv_shape, kv_axes = (kv_heads, head_dim), (KV_HEADS, HEAD_DIM)
    self.spec = spec
    self.query = normal(
      rngs, (embed, *query_shape), (EMBED, *query_axes), to_query
    )
    self.key = normal(rngs, (embed, *kv_shape), (EMBED, *kv_axes), into)
    self.value = normal(rngs, (embed, *kv_shape), (EMBED, *kv_axes), into)
    out_shape, out_axes = (*query_shape, embed), (*query_axes, EMBED)
    self.out = normal(rngs, out_shape, out_axes, out_stddev)
    # Assigned once each: NNX fixes at the first assignment what a module is.
    bias = spec.bias
    self.query_bias = zeros(query_shape, query_axes) if bias else None
    self.key_bias = zeros(kv_shape, kv_axes) if bias else None
    self.value_bias = zeros(kv_shape, kv_axes) if bias else None
    self.out_bias = zeros((embed,), (EMBED,)) if spec.out_bias else None
    learned = spec.sinks == 'learned'
    self.sinks = zeros((heads,), (HEADS,)) if learned else None
    sizes = {
      None: None,
      'head': (head_dim, head_dim),
      'width': (heads * head_dim, kv_heads * head_dim),
    }[spec.query_key_norm]
    # All heads together are split as heads are; one head is not split.
    axes = (HEAD_DIM, HEAD_DIM)
    if spec.query_key_norm == 'width':
      axes = (HEADS, KV_HEADS)
    self.query_norm = sizes and norm.make(sizes[0], axes[0])
    self.key_norm = sizes and norm.make(sizes[1], axes[1])

  def __call__(
    self,
    x_BSD: jax.Array,
    source_BTD: jax.Array,
    visibility: Visibility,
    window: jax.Array | None = None,
    *,
    angles=None,
    bias_HST: jax.Array | None = None,
    rate: float = 0.0,
    key: jax.Array | None = None,
  ) -> jax.Array:
    """[B, S, D] -> [B, S, D].

    Args:
      x_BSD: what asks.
      source_BTD: what is looked at; `x_BSD` itself in self-attention.
      visibility: what is seen.
      window: i32[], one of the windows; None: unlimited.
      angles: of `rotary_angles`, for queries and keys alike.
      bias_HST: as of `attend`, and so are rate and key.
    """

    def heads_of(x, kernel, bias, axis, norm=None):
      out = constrain(
        project(x, kernel, bias=bias), BATCH, SEQUENCE, axis, HEAD_DIM
      )
      if norm is None:
        return out
      if self.spec.query_key_norm == 'head':
        return norm(out)
      return norm(out.reshape(*out.shape[:2], -1)).reshape(out.shape)

    query_BSHK = heads_of(
      x_BSD, self.query, self.query_bias, HEADS, self.query_norm
    )
    key_BTNK = heads_of(
      source_BTD, self.key, self.key_bias, KV_HEADS, self.key_norm
    )
    value_BTNK = heads_of(source_BTD, self.value, self.value_bias, KV_HEADS)
    out_BSHK = self._attend(
      rotate(query_BSHK, angles),
      rotate(key_BTNK, angles),
      value_BTNK,
      visibility,
      window,
      bias_HST,
      rate,
      key,
    )
    return project(out_BSHK, self.out, inputs=2, bias=self.out_bias)

  def _attend(
    self, query, keys, values, visibility, window, bias_HST, rate, key
  ) -> jax.Array:
    spec = self.spec
    sinks_H = None
    if spec.sinks is not None:
      learned = spec.sinks == 'learned'
      sinks_H = self.sinks[...] if learned else jnp.zeros(query.shape[2])
    logits = {'scale': spec.scale, 'softcap': spec.softcap, 'sinks_H': sinks_H}
    kept_BT = None
    if window is not None and spec.initial_tokens is not None:
      kept_BT = initial(visibility.key_segments_BT, spec.initial_tokens)
    kernel = spec.kernel
    if kernel == 'auto':
      kernel = AUTO.get(platform(), 'plain')
    if kernel in BY_BLOCKS:
      by_blocks = BY_BLOCKS[kernel]
      needs = {
        'bias': bias_HST is not None,
        'dropout': key is not None and rate > 0,
        'prefix': visibility.prefix,
        'window': window is not None,
        'initial_tokens': kept_BT is not None,
        'sinks': sinks_H is not None,
        'softcap': spec.softcap is not None,
      }
      unknown = [NEEDS[name] for name in by_blocks.UNKNOWN if needs[name]]
      lacking = next(iter(unknown), None) or by_blocks.lacks(
        query.shape, keys.shape[1], visibility
      )
      if lacking is None:
        return self._by_blocks(
          by_blocks.attend,
          query,
          keys,
          values,
          visibility,
          window,
          kept_BT,
          logits,
        )
      if spec.kernel == kernel:
        raise UserError(f'Attention.kernel = {kernel!r}: {lacking}')
    mask = visibility.mask
    return attend(
      query,
      keys,
      values,
      mask if window is None else within(mask, window, kept_BT),
      bias_HST=bias_HST,
      rate=rate,
      key=key,
      **logits,
    )

  def _by_blocks(
    self, attend, query, keys, values, visibility, window, kept_BT, logits
  ) -> jax.Array:
    """A kernel for each width of window: a kernel's mask is fixed."""
    widths = (0,) if window is None else sorted(set(self.spec.windows))
    kernels = [
      functools.partial(
        attend,
        visibility=visibility,
        window=width,
        kept_BT=kept_BT,
        **logits,
      )
      for width in widths
    ]
    if len(kernels) == 1:
      return kernels[0](query, keys, values)
    which = jnp.searchsorted(jnp.array(widths), window)
    return jax.lax.switch(which, kernels, query, keys, values)
