"""Feed-forward layers."""

import jax
from flax import nnx

from tpu_lm.blocks.parameter import normal, project
from tpu_lm.shapes import BATCH, EMBED, MLP, SEQUENCE
from tpu_lm.sharding import constrain


class SwiGLU(nnx.Module):
  """silu(x W_gate) * (x W_up) W_down; Shazeer (2020), "GLU Variants Improve
  Transformer", equation 6, without biases.
  """

  def __init__(self, embed: int, mlp: int, out_stddev: float, rngs: nnx.Rngs):
    self.gate = normal(rngs, (embed, mlp), (EMBED, MLP), embed**-0.5)
    self.up = normal(rngs, (embed, mlp), (EMBED, MLP), embed**-0.5)
    self.down = normal(rngs, (mlp, embed), (MLP, EMBED), out_stddev)

  def __call__(self, x_BSD: jax.Array) -> jax.Array:
    """[B, S, D] -> [B, S, D]."""
    gate_BSF, up_BSF = project(x_BSD, self.gate), project(x_BSD, self.up)
    hidden_BSF = jax.nn.silu(gate_BSF) * up_BSF
    hidden_BSF = constrain(hidden_BSF, BATCH, SEQUENCE, MLP)
    return project(hidden_BSF, self.down)
