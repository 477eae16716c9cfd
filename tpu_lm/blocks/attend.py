"""Softmax attention, written out: what every kernel must equal."""

import jax
import jax.numpy as jnp

from tpu_lm.blocks.activations import capped, dropout

# Large enough to vanish in a softmax, small enough to stay finite in float32
# when a row has nothing else.
MASKED = -1e30


def attend(
  query_BSHK,
  key_BTNK,
  value_BTNK,
  mask,
  *,
  scale: float | None = None,
  softcap: float | None = None,
  bias_HST: jax.Array | None = None,
  sinks_H: jax.Array | None = None,
  rate: float = 0.0,
  key: jax.Array | None = None,
) -> jax.Array:
  """Softmax attention, grouped (Ainslie et al. 2023): H = N * G.

  Args:
    query_BSHK: queries, already position-encoded.
    key_BTNK: keys, likewise; each serves G query heads.
    value_BTNK: values.
    mask: bool, broadcast to [B, N, G, S, T].
    scale: of the logits; None: K^-0.5.
    softcap: keeps logits within it, see `activations.capped`; None: doesn't.
    bias_HST: f32, added to the logits.
    sinks_H: f32, one more logit of each query head, of a key without a value:
      it takes weight from the others, and neither scale nor cap nor mask is
      for it (OpenAI 2025, "gpt-oss model card", section 2.2). None: there is
      none. 0 is the softmax with 1 more in the denominator of Miller (2023),
      "Attention Is Off By One".
    rate: share of the attention weights that is dropped, where there is a key.
    key: of the dropout.

  Returns:
    [B, S, H, K] in the dtype of the queries; the softmax is in float32.
  """
  batch, sequence, heads, head_dim = query_BSHK.shape
  kv_heads = key_BTNK.shape[2]
  query_BSNGK = query_BSHK.reshape(batch, sequence, kv_heads, -1, head_dim)
  logits_BNGST = jnp.einsum(
    'BSNGK,BTNK->BNGST',
    query_BSNGK * (head_dim**-0.5 if scale is None else scale),
    key_BTNK,
    preferred_element_type=jnp.float32,
  )
  logits_BNGST = capped(logits_BNGST, softcap)
  if bias_HST is not None:
    logits_BNGST += bias_HST.reshape(kv_heads, -1, *bias_HST.shape[1:])
  logits_BNGST = jnp.where(mask, logits_BNGST, MASKED)
  if sinks_H is None:
    weights_BNGST = jax.nn.softmax(logits_BNGST, axis=-1)
  else:
    total_BNGS1 = jnp.logaddexp(
      jax.nn.logsumexp(logits_BNGST, axis=-1, keepdims=True),
      sinks_H.reshape(kv_heads, -1, 1, 1),
    )
    weights_BNGST = jnp.exp(logits_BNGST - total_BNGS1)
  weights_BNGST = dropout(weights_BNGST, rate, key)
  out_BSNGK = jnp.einsum(
    'BNGST,BTNK->BSNGK', weights_BNGST.astype(value_BTNK.dtype), value_BTNK
  )
  return out_BSNGK.reshape(batch, sequence, heads, head_dim)
