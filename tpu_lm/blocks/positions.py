"""How a model knows the order of its tokens; one kind a class.

Each kind acts at one of three places: on the token vectors (`add`), on queries
and keys (`angles`) or on the attention logits (`bias`).
"""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from tpu_lm.blocks.parameter import normal
from tpu_lm.blocks.rotary import rotary_angles
from tpu_lm.checks import UserError, check_number, require
from tpu_lm.shapes import BUCKETS, EMBED, HEADS, POSITIONS


class Table(nnx.Module):
  """A parameter of positions."""

  def __init__(self, table: nnx.Param):
    self.table = table


@dataclasses.dataclass(frozen=True)
class NoPositions:
  """None: a causal mask alone tells a decoder the order (Haviv et al. 2022).

  What the other kinds have besides: those with `has_table` a method `make`,
  (embed, heads, rngs) -> `Table`.
  """

  has_table: ClassVar[bool] = False

  def check(self, head_dim: int) -> None:
    """Raises UserError if heads of this width can't be turned."""

  def add(
    self, table: Table | None, x_BSD: jax.Array, positions_BS: jax.Array
  ) -> jax.Array:
    """Adds positions to the token vectors, [B, S, D]."""
    return x_BSD

  def angles(self, positions_BS: jax.Array, head_dim: int):
    """What queries and keys turn by, see `rotary`; None: they don't."""
    return None

  def bias(
    self, table: Table | None, length: int, heads: int, both_ways: bool
  ) -> jax.Array | None:
    """f32[H, S, T], added to the logits of self-attention; None: nothing is.

    It is the same for all rows: within a packed document tokens are as far
    apart as in their row, and across documents the mask hides them.
    """
    return None


@dataclasses.dataclass(frozen=True)
class Rotary(NoPositions):
  """Queries and keys turn by their positions; see `rotary`.

  Attributes:
    base: the longest wavelength is 2 pi times this, in tokens.
    fraction: of each head's channels that turn, in (0, 1] (GPT-NeoX: 0.25).
  """

  base: float = 10_000.0
  fraction: float = 1.0

  def __post_init__(self):
    check_number('Rotary.base', self.base, above=0)
    check_number('Rotary.fraction', self.fraction, above=0, most=1)

  def check(self, head_dim: int) -> None:
    """Raises UserError if heads of this width can't be turned."""
    turning = int(head_dim * self.fraction)
    good = turning > 0 and turning % 2 == 0
    must = f'must make an even number of channels of head_dim = {head_dim}'
    require(good, 'Rotary.fraction', self.fraction, must)

  def angles(self, positions_BS: jax.Array, head_dim: int):
    """See `NoPositions`."""
    turning = int(head_dim * self.fraction)
    return rotary_angles(positions_BS, turning, self.base)


@dataclasses.dataclass(frozen=True)
class Learned(NoPositions):
  """A table of vectors, one a position, added to the token vectors.

  Attributes:
    length: how many positions there are.
  """

  length: int

  has_table: ClassVar[bool] = True

  def __post_init__(self):
    good = type(self.length) is int and self.length > 0
    require(good, 'Learned.length', self.length, 'must be a positive int')

  def make(self, embed: int, heads: int, rngs: nnx.Rngs) -> Table:
    """The table's first values."""
    # 0.02 as in GPT-2 and BERT: small beside the token vectors.
    return Table(normal(rngs, (self.length, embed), (POSITIONS, EMBED), 0.02))

  def add(
    self, table: Table, x_BSD: jax.Array, positions_BS: jax.Array
  ) -> jax.Array:
    """See `NoPositions`."""
    if x_BSD.shape[1] > self.length:
      raise UserError(
        f'Learned.length = {self.length}: rows have {x_BSD.shape[1]} tokens'
      )
    # Positions beyond the table give NaN, which stops a run: not the last row.
    return x_BSD + jnp.take(
      table.table[...].astype(x_BSD.dtype), positions_BS, axis=0
    )


@dataclasses.dataclass(frozen=True)
class Sinusoidal(NoPositions):
  """Sines and cosines added to the token vectors; Vaswani et al. (2017),
  "Attention Is All You Need", section 3.5.

  Attributes:
    base: the longest wavelength is 2 pi times this, in tokens.
  """

  base: float = 10_000.0

  def __post_init__(self):
    check_number('Sinusoidal.base', self.base, above=0)

  def add(
    self, table: None, x_BSD: jax.Array, positions_BS: jax.Array
  ) -> jax.Array:
    """See `NoPositions`; D must be even."""
    embed = x_BSD.shape[-1]
    good = embed % 2 == 0
    require(good, 'embed', embed, 'must be even for sinusoidal positions')
    cos, sin = rotary_angles(positions_BS, embed, self.base)
    waves = jnp.stack([sin[:, :, 0], cos[:, :, 0]], axis=-1)
    return x_BSD + waves.reshape(x_BSD.shape).astype(x_BSD.dtype)


@dataclasses.dataclass(frozen=True)
class Relative(NoPositions):
  """A bias for each head and bucket of distances, shared by all layers: T5.

  Raffel et al. (2020), section 2.1: half of the buckets are for exact
  distances, the others grow logarithmically up to `max_distance`, beyond which
  all is one. Looking both ways, half of all buckets are for what comes later.

  Attributes:
    buckets: how many.
    max_distance: in tokens.
  """

  buckets: int = 32
  max_distance: int = 128

  has_table: ClassVar[bool] = True

  def __post_init__(self):
    good = type(self.buckets) is int and self.buckets >= 4
    good = good and self.buckets % 4 == 0
    must = 'must be a positive multiple of 4'
    require(good, 'Relative.buckets', self.buckets, must)
    distance = self.max_distance
    good = type(distance) is int and distance > self.buckets // 2
    must = f'must be an int above half of the {self.buckets} buckets'
    require(good, 'Relative.max_distance', distance, must)

  def make(self, embed: int, heads: int, rngs: nnx.Rngs) -> Table:
    """The table's first values."""
    shape = self.buckets, heads
    return Table(normal(rngs, shape, (BUCKETS, HEADS), embed**-0.5))

  def bias(
    self, table: Table, length: int, heads: int, both_ways: bool
  ) -> jax.Array:
    """See `NoPositions`."""
    place = jnp.arange(length)
    later_ST = place[None, :] - place[:, None]  # key minus query
    buckets = self.buckets
    if both_ways:
      buckets //= 2
      first_ST = jnp.where(later_ST > 0, buckets, 0)
      distance_ST = jnp.abs(later_ST)
    else:
      first_ST = jnp.zeros_like(later_ST)
      distance_ST = jnp.maximum(-later_ST, 0)
    exact = buckets // 2
    ratio = jnp.maximum(distance_ST, 1).astype(jnp.float32) / exact
    growth = math.log(self.max_distance / exact)
    far_ST = exact + (jnp.log(ratio) / growth * (buckets - exact)).astype(int)
    far_ST = jnp.minimum(far_ST, buckets - 1)
    bucket_ST = first_ST + jnp.where(distance_ST < exact, distance_ST, far_ST)
    return jnp.moveaxis(jnp.take(table.table[...], bucket_ST, axis=0), -1, 0)


@dataclasses.dataclass(frozen=True)
class Alibi(NoPositions):
  """Logits fall by the distance, at a rate of each head's own.

  Press et al. (2022), "Train Short, Test Long", section 3: the rates are
  2^(-8 i / H) for a power of two of heads; for other numbers those of the next
  lower power of two and every second one of the next higher, as their code
  does. Looking both ways the distance counts without its sign.
  """

  def bias(
    self, table: None, length: int, heads: int, both_ways: bool
  ) -> jax.Array:
    """See `NoPositions`."""
    place = jnp.arange(length, dtype=jnp.float32)
    distance_ST = jnp.abs(place[:, None] - place[None, :])
    slopes_H = jnp.array(_slopes(heads), jnp.float32)
    return -slopes_H[:, None, None] * distance_ST


def _slopes(heads: int) -> list[float]:
  lower = 2 ** int(math.log2(heads))
  slopes = [2 ** (-8 * i / lower) for i in range(1, lower + 1)]
  between = [2 ** (-4 * i / lower) for i in range(1, 2 * lower + 1, 2)]
  return slopes + between[: heads - lower]
