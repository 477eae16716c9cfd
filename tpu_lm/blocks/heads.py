"""From the last layer to logits."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from tpu_lm.blocks.activations import ACTIVATIONS, check_activation
from tpu_lm.blocks.embeddings import Embedding, token_table
from tpu_lm.blocks.norms import Layer, check_norm
from tpu_lm.blocks.parameter import normal, project, zeros
from tpu_lm.blocks.reading import Reading
from tpu_lm.checks import check_number, is_number, require
from tpu_lm.shapes import EMBED, VOCAB


class Head(nnx.Module):
  """Parameters of a head: only those that its kind has."""

  def __init__(self, **parameters: Any):
    for name, value in parameters.items():
      setattr(self, name, value)


@dataclasses.dataclass(frozen=True)
class Tied:
  """Logits read the table of token vectors (Press and Wolf 2017).

  Attributes:
    scale: vectors are multiplied by it first: a number, or 'rsqrt' for D^-0.5
      (T5 1.0, as its mesh code does).
    bias: whether each token has a bias.
    softcap: c: logits become c * tanh(logits / c) (Gemma 2), or None.
  """

  scale: float | str = 1.0
  bias: bool = False
  softcap: float | None = None

  def __post_init__(self):
    good = self.scale == 'rsqrt' or (is_number(self.scale) and self.scale > 0)
    must = "must be a number above 0, or 'rsqrt'"
    require(good, 'Tied.scale', self.scale, must)
    require(type(self.bias) is bool, 'Tied.bias', self.bias, 'must be a bool')
    if self.softcap is not None:
      check_number('Tied.softcap', self.softcap, above=0)

  @property
  def has_parameters(self) -> bool:
    """Whether there is anything for `make` to make."""
    return self.bias

  def make(self, vocabulary: int, embed: int, rngs: nnx.Rngs) -> Head:
    """The head's own parameters."""
    return Head(bias=zeros((vocabulary,), (VOCAB,)))

  def read(
    self, head: Head | None, embedding: Embedding, x_BSD: jax.Array
  ) -> Reading:
    """What logits are read from, of [B, S, D]."""
    if self.scale != 1.0:
      scale = x_BSD.shape[-1] ** -0.5 if self.scale == 'rsqrt' else self.scale
      x_BSD = x_BSD * jnp.asarray(scale, x_BSD.dtype)
    bias_V = None if head is None else head.bias[...]
    return Reading(x_BSD, embedding.table[...], bias_V, self.softcap)


@dataclasses.dataclass(frozen=True)
class Separate:
  """Logits have a table of their own.

  Attributes:
    bias: whether each token has a bias.
    softcap: as of `Tied`.
  """

  bias: bool = False
  softcap: float | None = None

  has_parameters: ClassVar[bool] = True

  def __post_init__(self):
    good = type(self.bias) is bool
    require(good, 'Separate.bias', self.bias, 'must be a bool')
    if self.softcap is not None:
      check_number('Separate.softcap', self.softcap, above=0)

  def make(self, vocabulary: int, embed: int, rngs: nnx.Rngs) -> Head:
    """The head's own parameters."""
    parameters = {'table': token_table(vocabulary, embed, rngs)}
    if self.bias:
      parameters['bias'] = zeros((vocabulary,), (VOCAB,))
    return Head(**parameters)

  def read(self, head: Head, embedding: Embedding, x_BSD: jax.Array) -> Reading:
    """What logits are read from, of [B, S, D]."""
    bias_V = head.bias[...] if self.bias else None
    return Reading(x_BSD, head.table[...], bias_V, self.softcap)


@dataclasses.dataclass(frozen=True)
class MaskedLM:
  """One more layer, and then the table of token vectors with a bias: BERT.

  logits = norm(act(x W + b)) E^T + c; Devlin et al. (2019) don't write it
  down, their code has it.

  Attributes:
    activation: as of `feed_forward.FeedForward`.
    norm: of `norms`.
  """

  activation: str = 'gelu'
  norm: Any = Layer()

  has_parameters: ClassVar[bool] = True

  def __post_init__(self):
    check_activation('MaskedLM.activation', self.activation)
    check_norm('MaskedLM.norm', self.norm)

  def make(self, vocabulary: int, embed: int, rngs: nnx.Rngs) -> Head:
    """The head's own parameters."""
    # The second name is of the same axis, which is split once.
    axes = (EMBED, EMBED)
    return Head(
      dense=normal(rngs, (embed, embed), axes, embed**-0.5),
      dense_bias=zeros((embed,), (EMBED,)),
      norm=self.norm.make(embed),
      bias=zeros((vocabulary,), (VOCAB,)),
    )

  def read(self, head: Head, embedding: Embedding, x_BSD: jax.Array) -> Reading:
    """What logits are read from, of [B, S, D]."""
    x_BSD = project(x_BSD, head.dense, bias=head.dense_bias)
    x_BSD = head.norm(ACTIVATIONS[self.activation](x_BSD))
    return Reading(x_BSD, embedding.table[...], head.bias[...])
