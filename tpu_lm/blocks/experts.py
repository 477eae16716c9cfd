"""Feed-forward layers of experts, of which each token takes a few."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from tpu_lm.blocks.activations import ACTIVATIONS, check_activation
from tpu_lm.blocks.dispatch import INTO, OUT_OF, Stacks, choose, through_experts
from tpu_lm.blocks.feed_forward import Auxiliary
from tpu_lm.blocks.parameter import normal
from tpu_lm.checks import check_counts, check_number, require
from tpu_lm.shapes import EMBED, ROUTES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experts:
  """A mixture of experts: feed-forward layers that tokens choose among.

  The output is the sum of p_e * expert_e(x) over the k experts e whose share p
  = softmax(x W_router) is largest; Shazeer et al. (2017), "Outrageously Large
  Neural Networks", with the softmax over all experts of Fedus et al. (2021),
  "Switch Transformers", section 2.1. The router is computed in float32. Tokens
  choose and none is dropped, see `dispatch.py`; the model's `mlp` is the width
  of one expert. Padding (segment 0) goes to no expert and counts nowhere.

  Two losses are added to the mean loss of a batch, averaged over the model's
  layers, as OLMoE does (Muennighoff et al. 2024, section 2):

  - balance: N/k * sum_i f_i P_i over the N experts, where f_i is the number of
    tokens that chose expert i over that of all tokens, and P_i its mean share;
    Fedus et al., equation 4, for k > 1. It is 1 where all experts are chosen
    alike, and N/k where all tokens are sure of the same k. Both means are over
    the tokens of a micro-batch on all devices, whatever their loss weights; the
    product of means is not the mean of products, so more micro-batches balance
    smaller parts.
  - z: the mean of logsumexp(router logits)^2; Zoph et al. (2022), "ST-MoE",
    equation 5.

  The log has `train/balance`, and `train/largest_load`, which is f_i * N/k of
  the expert that most tokens chose: 1 is even, N/k is all. Both are means over
  layers.

  `dropout` acts on what the layer gives, not on experts' hidden values.

  Attributes:
    experts: N, of one layer.
    chosen: k, experts of a token.
    activation: as of `feed_forward.FeedForward`.
    gated: as there.
    normalised: whether the k shares are divided by their sum (Mixtral; Jiang et
      al. 2024, section 2.1) or used as they are (OLMoE).
    balance: weight of the balance loss.
    z_loss: weight of the z loss.
  """

  experts: int
  chosen: int
  activation: str = 'silu'
  gated: bool = True
  normalised: bool = False
  balance: float = 0.01
  z_loss: float = 0.001

  def __post_init__(self):
    check_counts('Experts', self, ('experts', 'chosen'))
    must = f'must be at most experts = {self.experts}'
    fits = self.chosen <= self.experts
    require(fits, 'Experts.chosen', self.chosen, must)
    check_activation('Experts.activation', self.activation)
    for name in ('gated', 'normalised'):
      value = getattr(self, name)
      good = type(value) is bool
      require(good, f'Experts.{name}', value, 'must be a bool')
    for name in ('balance', 'z_loss'):
      check_number(f'Experts.{name}', getattr(self, name), least=0)

  def make(
    self, embed: int, mlp: int, out_stddev: float, rngs: nnx.Rngs
  ) -> 'ExpertsLayer':
    """A layer of experts of width F = `mlp` between two of D = `embed`."""
    return ExpertsLayer(self, embed, mlp, out_stddev, rngs)


class ExpertsLayer(nnx.Module):
  """A layer of experts, see `Experts`."""

  def __init__(
    self,
    spec: Experts,
    embed: int,
    mlp: int,
    out_stddev: float,
    rngs: nnx.Rngs,
  ):
    into, stddev = (spec.experts, embed, mlp), embed**-0.5
    self.spec = spec
    routes = (embed, spec.experts)
    self.router = normal(rngs, routes, (EMBED, ROUTES), stddev)
    self.gate = normal(rngs, into, INTO, stddev) if spec.gated else None
    self.up = normal(rngs, into, INTO, stddev)
    out_of = (spec.experts, mlp, embed)
    self.down = normal(rngs, out_of, OUT_OF, out_stddev)

  def __call__(
    self,
    x_BSD: jax.Array,
    real_BS: jax.Array,
    rate: float = 0.0,
    key: jax.Array | None = None,
  ) -> tuple[jax.Array, Auxiliary]:
    """See `FeedForwardLayer`; `rate` and `key` are not used."""
    spec, dtype = self.spec, x_BSD.dtype
    logits_BSE = jnp.einsum(
      'BSD,DE->BSE',
      x_BSD.astype(jnp.float32),
      self.router[...],
      # By default TPUs would round both factors to bfloat16.
      precision=jax.lax.Precision.HIGHEST,
    )
    share_BSE = jax.nn.softmax(logits_BSE)
    weight_BSC, chosen_BSC = choose(share_BSE, spec.chosen)
    if spec.normalised:
      weight_BSC /= jnp.sum(weight_BSC, axis=-1, keepdims=True)
    chosen_BSC = jnp.where(real_BS[..., None], chosen_BSC, spec.experts)
    stacks = Stacks(
      None if self.gate is None else self.gate[...].astype(dtype),
      self.up[...].astype(dtype),
      self.down[...].astype(dtype),
    )
    out_BSD = through_experts(
      x_BSD, chosen_BSC, weight_BSC, stacks, ACTIVATIONS[spec.activation]
    )
    return out_BSD, self._auxiliary(logits_BSE, share_BSE, chosen_BSC, real_BS)

  def _auxiliary(
    self,
    logits_BSE: jax.Array,
    share_BSE: jax.Array,
    chosen_BSC: jax.Array,
    real_BS: jax.Array,
  ) -> Auxiliary:
    spec = self.spec
    tokens = jnp.maximum(jnp.sum(real_BS), 1)
    # Padding is of no expert, so it is in none of these.
    counts_E = jnp.sum(jax.nn.one_hot(chosen_BSC, spec.experts), axis=(0, 1, 2))
    load_E = counts_E / tokens * (spec.experts / spec.chosen)
    share_E = jnp.sum(share_BSE * real_BS[..., None], axis=(0, 1)) / tokens
    balance = jnp.sum(load_E * share_E)
    squares_BS = jnp.square(jax.nn.logsumexp(logits_BSE, axis=-1)) * real_BS
    return Auxiliary(
      spec.balance * balance + spec.z_loss * jnp.sum(squares_BS) / tokens,
      {'balance': balance, 'largest_load': jnp.max(load_E)},
    )
