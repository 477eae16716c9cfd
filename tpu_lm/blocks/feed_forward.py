"""Feed-forward layers."""

import dataclasses

import jax
from flax import nnx

from tpu_lm.blocks.activations import ACTIVATIONS, check_activation, dropout
from tpu_lm.blocks.parameter import normal, project, zeros
from tpu_lm.checks import require
from tpu_lm.shapes import BATCH, EMBED, MLP, SEQUENCE
from tpu_lm.sharding import constrain


@dataclasses.dataclass(frozen=True)
class FeedForward:
  """What feed-forward layers are.

  Attributes:
    activation: 'silu', 'gelu', 'gelu_tanh' or 'relu'.
    gated: act(x W_gate) * (x W_up) W_down, as in Shazeer (2020), "GLU Variants
      Improve Transformer", equation 6; else act(x W_up) W_down.
    bias: whether each product has one.
  """

  activation: str = 'silu'
  gated: bool = True
  bias: bool = False

  def __post_init__(self):
    check_activation('FeedForward.activation', self.activation)
    for name in ('gated', 'bias'):
      value = getattr(self, name)
      key = f'FeedForward.{name}'
      require(type(value) is bool, key, value, 'must be a bool')

  def make(
    self, embed: int, mlp: int, out_stddev: float, rngs: nnx.Rngs
  ) -> 'FeedForwardLayer':
    """A layer of width F = `mlp` between two of D = `embed`."""
    return FeedForwardLayer(self, embed, mlp, out_stddev, rngs)


class FeedForwardLayer(nnx.Module):
  """A feed-forward layer, see `FeedForward`."""

  def __init__(
    self,
    spec: FeedForward,
    embed: int,
    mlp: int,
    out_stddev: float,
    rngs: nnx.Rngs,
  ):
    into, axes = (embed, mlp), (EMBED, MLP)
    self.spec = spec
    self.gate = normal(rngs, into, axes, embed**-0.5) if spec.gated else None
    self.up = normal(rngs, into, axes, embed**-0.5)
    self.down = normal(rngs, (mlp, embed), (MLP, EMBED), out_stddev)
    gate_bias = spec.gated and spec.bias
    self.gate_bias = zeros((mlp,), (MLP,)) if gate_bias else None
    self.up_bias = zeros((mlp,), (MLP,)) if spec.bias else None
    self.down_bias = zeros((embed,), (EMBED,)) if spec.bias else None

  def __call__(
    self, x_BSD: jax.Array, rate: float = 0.0, key: jax.Array | None = None
  ) -> jax.Array:
    """[B, S, D] -> [B, S, D]; `rate` of the hidden values dropped by `key`."""
    activation = ACTIVATIONS[self.spec.activation]
    if self.gate is None:
      hidden_BSF = activation(project(x_BSD, self.up, bias=self.up_bias))
    else:
      gate_BSF = project(x_BSD, self.gate, bias=self.gate_bias)
      up_BSF = project(x_BSD, self.up, bias=self.up_bias)
      hidden_BSF = activation(gate_BSF) * up_BSF
    hidden_BSF = constrain(hidden_BSF, BATCH, SEQUENCE, MLP)
    # Fused into the next product, XLA for TPUs computes it again for each tile:
    # 1.2 % of the cycles of an 8B step (LOG.md, 2026-11-21).
    hidden_BSF = jax.lax.optimization_barrier(dropout(hidden_BSF, rate, key))
    return project(hidden_BSF, self.down, bias=self.down_bias)
