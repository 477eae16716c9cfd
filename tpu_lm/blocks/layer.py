"""One layer: attention, perhaps to an encoder too, and feed-forward."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from tpu_lm import shapes
from tpu_lm.blocks.activations import dropout
from tpu_lm.blocks.attention import AttentionLayer
from tpu_lm.blocks.feed_forward import Auxiliary
from tpu_lm.blocks.quantized import mark
from tpu_lm.blocks.visibility import Visibility
from tpu_lm.sharding import constrain


class View(NamedTuple):
  """What the layers of a stack see besides the stream, the same for all.

  Attributes:
    visibility: of the stream's tokens for each other.
    angles: of `rotary_angles`, or None.
    bias_HST: f32, added to attention logits, or None.
    encoded_BED: what an encoder gives, or None.
    cross: what is seen of the encoder, or None.
  """

  visibility: Visibility
  angles: Any = None
  bias_HST: jax.Array | None = None
  encoded_BED: jax.Array | None = None
  cross: Visibility | None = None


class Layer(nnx.Module):
  """Sublayers around the residual stream, joined as the residual says.

  Args:
    model: has the sizes and the blocks, see `models/transformer.py`.
    layers: how many the stack has, which sets how large outputs begin.
    cross: whether it looks at an encoder.
    rngs: keys of the initial values.
  """

  def __init__(self, model: Any, layers: int, cross: bool, rngs: nnx.Rngs):
    self.model = model
    self.sublayers = (
      ('attention', 'cross_attention', 'feed_forward')
      if cross
      else ('attention', 'feed_forward')
    )
    # Each layer adds so often to the residual stream; scaling what it adds by
    # 1/sqrt(additions) keeps the stream's variance at 1 (Radford et al. 2019).
    shrink = (len(self.sublayers) * layers) ** -0.5
    sizes = model.embed, model.heads, model.kv_heads, model.head_dim
    out_stddev = shrink * (model.heads * model.head_dim) ** -0.5
    self.attention = AttentionLayer(
      model.attention, *sizes, model.norm, out_stddev, rngs
    )
    if cross:
      self.cross_attention = AttentionLayer(
        model.attention, *sizes, model.norm, out_stddev, rngs
      )
    self.feed_forward = model.feed_forward.make(
      model.embed, model.mlp, shrink * model.mlp**-0.5, rngs
    )
    self.norm_names = model.residual.norms(self.sublayers)
    for name in self.norm_names:
      setattr(self, name, model.norm.make(model.embed))
    mark(self, model.quantization)

  def __call__(
    self,
    x_BSD: jax.Array,
    view: View,
    window: jax.Array | None = None,
    key: jax.Array | None = None,
  ) -> tuple[jax.Array, Auxiliary | None]:
    """[B, S, D] -> [B, S, D], and what its feed-forward layer tells.

    Args:
      x_BSD: the residual stream.
      view: see there.
      window: i32[], of this layer's self-attention; None: unlimited.
      key: of this layer's dropout; None: nothing is dropped.
    """
    rate = self.model.dropout
    real_BS = view.visibility.query_segments_BS > 0
    auxiliary = None

    def key_of(place: int) -> jax.Array | None:
      return None if key is None else jax.random.fold_in(key, place)

    def attention(x):
      return self.attention(
        x,
        x,
        view.visibility,
        window,
        angles=view.angles,
        bias_HST=view.bias_HST,
        rate=rate,
        key=key_of(0),
      )

    def cross_attention(x):
      out_BSD = self.cross_attention(
        x, view.encoded_BED, view.cross, rate=rate, key=key_of(1)
      )
      # A softmax over nothing would be a mean of other documents.
      seen_BS1 = jnp.any(view.cross.mask, axis=-1)[:, 0, 0, :, None]
      return jnp.where(seen_BS1, out_BSD, 0)

    def feed_forward(x):
      nonlocal auxiliary
      x, auxiliary = self.feed_forward(x, real_BS, rate, key_of(2))
      return x

    functions = {
      'attention': attention,
      'cross_attention': cross_attention,
      'feed_forward': feed_forward,
    }
    sublayers = {
      name: lambda x, name=name, place=place: dropout(
        functions[name](x), rate, key_of(3 + place)
      )
      for place, name in enumerate(self.sublayers)
    }
    norms = {name: getattr(self, name) for name in self.norm_names}
    x_BSD = self.model.residual.run(x_BSD, sublayers, norms)
    x_BSD = constrain(x_BSD, shapes.BATCH, shapes.SEQUENCE, shapes.EMBED)
    return x_BSD, auxiliary
