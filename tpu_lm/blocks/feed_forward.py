"""Feed-forward layers."""

import dataclasses
from typing import NamedTuple

import jax
from flax import nnx

from tpu_lm.blocks.activations import ACTIVATIONS, check_activation, dropout
from tpu_lm.blocks.parameter import normal, project, zeros
from tpu_lm.checks import require
from tpu_lm.shapes import BATCH, EMBED, MLP, SEQUENCE
from tpu_lm.sharding import constrain


class Auxiliary(NamedTuple):
  """What a layer tells the objective besides its output.

  Attributes:
    loss: f32[], to be added to the mean loss of the batch.
    metrics: f32[] by name, for the log.
  """

  loss: jax.Array
  metrics: dict[str, jax.Array]


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
    self,
    x_BSD: jax.Array,
    real_BS: jax.Array,
    rate: float = 0.0,
    key: jax.Array | None = None,
  ) -> tuple[jax.Array, Auxiliary | None]:
    """[B, S, D] -> [B, S, D], and what the objective is told.

    Args:
      x_BSD: the input.
      real_BS: bool, which tokens are no padding.
      rate: share of the hidden values that is dropped.
      key: of the draw; None: nothing is dropped.
    """
    del real_BS  # tokens know nothing of each other
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
    return project(hidden_BSF, self.down, bias=self.down_bias), None
