"""How the sublayers of a layer join the residual stream.

Each kind says which norms a sublayer has (`NAME_norm` before it or on the sum,
`NAME_out_norm` on what it gives) and runs the sublayers of a layer.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import ClassVar

import jax

from tpu_lm.checks import require

Sublayers = Mapping[str, Callable[[jax.Array], jax.Array]]
Norms = Mapping[str, Callable[[jax.Array], jax.Array]]


@dataclasses.dataclass(frozen=True)
class Pre:
  """x + f(norm(x)); Xiong et al. (2020), Llama, T5."""

  final_norm: ClassVar[bool] = True

  def norms(self, sublayers: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the norms that a layer with these sublayers has."""
    return tuple(f'{name}_norm' for name in sublayers)

  def run(self, x: jax.Array, sublayers: Sublayers, norms: Norms) -> jax.Array:
    """Runs a layer on [B, S, D]."""
    for name, sublayer in sublayers.items():
      x += sublayer(norms[f'{name}_norm'](x))
    return x


@dataclasses.dataclass(frozen=True)
class Post(Pre):
  """norm(x + f(x)); Vaswani et al. (2017), BERT, BART. No norm at the end."""

  final_norm: ClassVar[bool] = False

  def run(self, x: jax.Array, sublayers: Sublayers, norms: Norms) -> jax.Array:
    """See `Pre`."""
    for name, sublayer in sublayers.items():
      x = norms[f'{name}_norm'](x + sublayer(x))
    return x


@dataclasses.dataclass(frozen=True)
class Output(Pre):
  """x + norm(f(x)); OLMo 2."""

  def norms(self, sublayers: tuple[str, ...]) -> tuple[str, ...]:
    """See `Pre`."""
    return tuple(f'{name}_out_norm' for name in sublayers)

  def run(self, x: jax.Array, sublayers: Sublayers, norms: Norms) -> jax.Array:
    """See `Pre`."""
    for name, sublayer in sublayers.items():
      x += norms[f'{name}_out_norm'](sublayer(x))
    return x


@dataclasses.dataclass(frozen=True)
class Sandwich(Pre):
  """x + norm(f(norm(x))); Ding et al. (2021), "CogView"; Gemma 2."""

  def norms(self, sublayers: tuple[str, ...]) -> tuple[str, ...]:
    """See `Pre`."""
    return tuple(
      f'{name}{kind}' for name in sublayers for kind in ('_norm', '_out_norm')
    )

  def run(self, x: jax.Array, sublayers: Sublayers, norms: Norms) -> jax.Array:
    """See `Pre`."""
    for name, sublayer in sublayers.items():
      inner = sublayer(norms[f'{name}_norm'](x))
      x += norms[f'{name}_out_norm'](inner)
    return x


@dataclasses.dataclass(frozen=True)
class Parallel(Pre):
  """x + f(norm(x)) + g(norm'(x)): no sublayer waits for another.

  Black et al. (2022), "GPT-NeoX-20B", section 2.1.2.

  Attributes:
    shared_norm: one norm for all of them (GPT-J).
  """

  shared_norm: bool = False

  def __post_init__(self):
    good = type(self.shared_norm) is bool
    require(good, 'Parallel.shared_norm', self.shared_norm, 'must be a bool')

  def norms(self, sublayers: tuple[str, ...]) -> tuple[str, ...]:
    """See `Pre`."""
    return super().norms(sublayers[:1] if self.shared_norm else sublayers)

  def run(self, x: jax.Array, sublayers: Sublayers, norms: Norms) -> jax.Array:
    """See `Pre`."""
    first = next(iter(sublayers))
    return x + sum(
      sublayer(norms[f'{first if self.shared_norm else name}_norm'](x))
      for name, sublayer in sublayers.items()
    )
