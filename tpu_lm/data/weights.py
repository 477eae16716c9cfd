"""Weights worked out from the sizes of the sources, not given one by one.

Each of these stands wherever a mapping of weights does: in `Mixture.weights`
and in `Mixture.changes`. A size is the number of tokens in a source's train
store. The name of a seqio mixture stands for its tasks, each by its own size.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

from tpu_lm.checks import UserError, check_number, require


class Weights(Protocol):
  """Weights that depend on sizes."""

  @property
  def sources(self) -> tuple[str, ...]:
    """Names of tasks, of files or of seqio mixtures."""

  def resolve(self, sizes: Mapping[str, int], budget: int) -> dict[str, float]:
    """Works the weights out.

    Args:
      sizes: tokens of each source, all positive; seqio mixtures expanded.
      budget: tokens that will be read by these weights, replays left aside.

    Returns:
      Source to weight, at any scale.

    Raises:
      UserError: the weights can't keep what they promise.
    """


@dataclasses.dataclass(frozen=True)
class Proportional:
  """In proportion to size, a large source counting for no more than `limit`.

  Raffel et al. 2020 (T5, arXiv 1910.10683), section 3.5.2, examples-
  proportional mixing, with tokens in place of examples:
  weight = min(size, limit).

  Attributes:
    sources: names.
    limit: T5's artificial limit K, in tokens; None for no limit.
  """

  sources: tuple[str, ...]
  limit: float | None = None

  def __post_init__(self):
    _check_names('Proportional.sources', self.sources)
    if self.limit is not None:
      check_number('Proportional.limit', self.limit, above=0)

  def resolve(self, sizes: Mapping[str, int], budget: int) -> dict[str, float]:
    """See `Weights`; the budget plays no part."""
    return _limited(sizes, self.limit)


@dataclasses.dataclass(frozen=True)
class Temperature:
  """Proportional weights to the power of 1 / temperature.

  The same section of T5: temperature 1 is `Proportional`, a high one comes
  close to equal weights. The alpha of mT5 (Xue et al. 2021, arXiv 2010.11934)
  is 1 / temperature: its 0.3 is a temperature of 10 / 3.

  Attributes:
    sources: names.
    temperature: above 0.
    limit: as of `Proportional`, applied before the power.
  """

  sources: tuple[str, ...]
  temperature: float
  limit: float | None = None

  def __post_init__(self):
    _check_names('Temperature.sources', self.sources)
    check_number('Temperature.temperature', self.temperature, above=0)
    if self.limit is not None:
      check_number('Temperature.limit', self.limit, above=0)

  def resolve(self, sizes: Mapping[str, int], budget: int) -> dict[str, float]:
    """See `Weights`; the budget plays no part."""
    limited = _limited(sizes, self.limit)
    largest = max(limited.values())  # so that no power overflows
    return {
      name: (size / largest) ** (1 / self.temperature)
      for name, size in limited.items()
    }


@dataclasses.dataclass(frozen=True)
class UniMax:
  """As equal as can be while no source is read more than `max_epochs` times.

  Chung et al. 2023 (arXiv 2304.09151), algorithm 1: from the smallest source
  to the largest, each gets an equal part of the budget that is left, or
  `max_epochs` of its size if that is less.

  The paper normalises what is left over away, and so reads more epochs than
  promised when the budget exceeds `max_epochs` of everything; here that is an
  error.

  Attributes:
    sources: names.
    max_epochs: above 0.
    budget: tokens; None for what is read by these weights: in the whole
      phase, or up to the next of `Mixture.changes`, replays left aside.
  """

  sources: tuple[str, ...]
  max_epochs: float
  budget: float | None = None

  def __post_init__(self):
    _check_names('UniMax.sources', self.sources)
    check_number('UniMax.max_epochs', self.max_epochs, above=0)
    if self.budget is not None:
      check_number('UniMax.budget', self.budget, above=0)

  def resolve(self, sizes: Mapping[str, int], budget: int) -> dict[str, float]:
    """See `Weights`."""
    left = budget if self.budget is None else self.budget
    supply = self.max_epochs * sum(sizes.values())
    if supply < left:
      raise UserError(
        f'UniMax.max_epochs = {self.max_epochs:g}: that many epochs of'
        f' {", ".join(sizes)} are {supply:,.0f} tokens, and the budget is'
        f' {left:,.0f}. Allow more epochs, add sources, or read less'
      )
    weights = {}
    ascending = sorted(sizes, key=lambda name: (sizes[name], name))
    for taken, name in enumerate(ascending):
      equal = left / (len(ascending) - taken)
      weights[name] = min(equal, sizes[name] * self.max_epochs)
      left -= weights[name]
    return weights


@dataclasses.dataclass(frozen=True)
class FixedTokens:
  """So many tokens of each source.

  The phase's length stays what decides how much is read: set it to
  `Tokens(sum)`. A shorter phase reads less of every source, in proportion. One
  that would read a batch or more beyond the sum is an error.

  Attributes:
    tokens: source to tokens; a seqio mixture's are split by its rates.
  """

  tokens: Mapping[str, float]

  def __post_init__(self):
    key = 'FixedTokens.tokens'
    good = isinstance(self.tokens, Mapping)
    require(good, key, self.tokens, 'must map names of sources to tokens')
    _check_names(key, tuple(self.tokens))
    for name, count in self.tokens.items():
      check_number(f'{key}[{name!r}]', count, above=0)
    check_number(f'the sum of {key}', self.total, above=0)

  @property
  def sources(self) -> tuple[str, ...]:
    """The names."""
    return tuple(self.tokens)

  @property
  def total(self) -> float:
    """Tokens of all sources together."""
    return sum(self.tokens.values())

  def resolve(self, sizes: Mapping[str, int], budget: int) -> dict[str, float]:
    """See `Weights`; neither sizes nor budget play a part."""
    return dict(self.tokens)


def names_of(weights: Mapping[str, float] | Weights) -> tuple[str, ...]:
  """The names that weights are of."""
  return tuple(weights if isinstance(weights, Mapping) else weights.sources)


def describe(weights: Mapping[str, float] | Weights) -> str:
  """Weights in a few words: 'prose 0.7, python 0.3', 'UniMax of de, en'."""
  if isinstance(weights, Mapping):
    return ', '.join(f'{name} {weight:g}' for name, weight in weights.items())
  return f'{type(weights).__name__} of {", ".join(names_of(weights))}'


def _limited(sizes: Mapping[str, int], limit: float | None) -> dict[str, float]:
  return {
    name: size if limit is None else min(size, limit)
    for name, size in sizes.items()
  }


def _check_names(key: str, names: Any) -> None:
  good = isinstance(names, tuple | list) and len(names) > 0
  good = good and all(isinstance(name, str) for name in names)
  require(good, key, names, 'must be names of sources')
  good = len(set(names)) == len(names)
  require(good, key, names, 'must each appear once')
  for name in names:
    good = not name.startswith('replay:')
    require(good, key, name, "must not begin with 'replay:'")
