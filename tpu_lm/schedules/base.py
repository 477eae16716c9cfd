"""The contract of a schedule: the learning rate of every step of a phase.

A schedule is a frozen dataclass with two members:

  make(horizon) -> Curve   built for a phase's length and its parent's rate
  annealed: bool           whether it ends annealed; where it does not, the
                           phase leaves a trunk that training may go on from

One convention holds everywhere: a formula speaks of n, the number of steps
taken, and the step with index s (from 0) has the rate of n = s + 1. Hence

- a warm-up from 0 over W steps begins at peak / W, not at 0, and its last
  step, s = W - 1, has the peak;
- the last step of a decay has exactly the rate the decay ends at;
- n = 0 of a phase is the last step of its parent, so a phase that starts at
  'parent' goes on from the parent's last rate without repeating it.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import optax

from tpu_lm.checks import is_number, nearest, require


@dataclasses.dataclass(frozen=True)
class Tokens:
  """A length in tokens: as many steps as it takes to read `count` of them."""

  count: float

  def __post_init__(self):
    good = is_number(self.count) and self.count > 0
    require(good, 'Tokens.count', self.count, 'must be a positive number')


# An int is steps, a float in (0, 1] is a fraction of the phase.
Length = int | float | Tokens
# 'parent' is the last learning rate of the parent phase.
Rate = float | Literal['parent']


@dataclasses.dataclass(frozen=True)
class Horizon:
  """What a schedule is built for.

  Attributes:
    steps: length of the phase.
    tokens_per_step: rows of a batch times sequence length.
    parent_rate: the last learning rate of the parent phase, None without one.
  """

  steps: int
  tokens_per_step: int
  parent_rate: float | None = None

  def __post_init__(self):
    assert self.steps > 0 and self.tokens_per_step > 0, self


@dataclasses.dataclass(frozen=True)
class Piece:
  """One formula over `length` steps.

  Attributes:
    length: in steps.
    function: n -> rate for 0 <= n <= length; elementwise on arrays.
  """

  length: int
  function: Callable[[jax.Array], jax.Array]

  def __call__(self, n: jax.Array) -> jax.Array:
    """The rate after `n` steps of this piece, held at both of its ends."""
    return self.function(jnp.clip(n, 0, self.length))


@dataclasses.dataclass(frozen=True)
class Curve:
  """Pieces, one after another; a pure function of the phase's step.

  Attributes:
    pieces: those of at least one step; others are left out.
  """

  pieces: tuple[Piece, ...]

  def __post_init__(self):
    pieces = tuple(piece for piece in self.pieces if piece.length > 0)
    object.__setattr__(self, 'pieces', pieces)

  @property
  def boundaries(self) -> tuple[int, ...]:
    """Steps taken when each piece ends; the last is the curve's length."""
    return tuple(itertools.accumulate(piece.length for piece in self.pieces))

  @property
  def last_rate(self) -> float:
    """The rate of the last step; every later step has it too."""
    return float(self(self.boundaries[-1] - 1))

  def __call__(self, phase_step: jax.typing.ArrayLike) -> jax.Array:
    """The learning rate, f32[...], of steps i32[...] counted from 0."""
    phase_step = jnp.asarray(phase_step, jnp.int32)
    # Joined by step and not by n: a step at a joint is the last of the piece
    # before it, which tells where a schedule jumps.
    by_step = [lambda step, piece=p: piece(step + 1) for p in self.pieces]
    rates = optax.join_schedules(by_step, self.boundaries[:-1])(phase_step)
    return jnp.broadcast_to(jnp.asarray(rates, jnp.float32), phase_step.shape)


class Schedule(Protocol):
  """What every file of this folder offers."""

  @property
  def annealed(self) -> bool:
    """Whether the phase ends annealed, and so leaves no trunk."""

  def make(self, horizon: Horizon) -> Curve:
    """A curve of exactly `horizon.steps` steps.

    Raises:
      UserError: a rate is the parent's and there is no parent, or the lengths
        do not fit into the phase.
    """


def check_choice(key: str, value: Any, choices: Iterable[str]) -> None:
  """Raises `UserError` unless `value` is one of `choices`."""
  choices = tuple(choices)
  hint = nearest(str(value), choices)
  require(value in choices, key, value, f'is not one of them.{hint}')


def check_rate(key: str, value: Any) -> None:
  """Raises `UserError` unless `value` is a positive number or 'parent'."""
  good = value == 'parent' or (is_number(value) and value > 0)
  require(good, key, value, "must be a positive number, or 'parent'")


def check_end(key: str, end: Any, begin: Rate, zero: bool = True) -> None:
  """Raises `UserError` unless a decay from `begin` may end at `end`.

  Args:
    key: the gin key of `end`.
    end: the rate at the end of the decay.
    begin: the rate it decays from; 'parent' is compared only once known.
    zero: whether `end` may be 0.
  """
  least = 'at least 0' if zero else 'above 0'
  good = is_number(end) and (end >= 0 if zero else end > 0)
  require(good, key, end, f'must be a number {least}')
  good = begin == 'parent' or end <= begin
  require(good, key, end, f'must not exceed {begin}, which it decays from')


def check_length(key: str, value: Any, zero: bool = False) -> None:
  """Raises `UserError` unless `value` is a length.

  Args:
    key: the gin key of the length.
    value: the value as given.
    zero: whether the int 0 may say that there is no such part.
  """
  if type(value) is int:
    good = value > 0 or (zero and value == 0)
  else:
    good = isinstance(value, Tokens) or (
      type(value) is float and 0 < value <= 1
    )
  none = ', or the int 0 for none' if zero else ''
  require(
    good,
    key,
    value,
    'must be steps (a positive int), a fraction of the phase (a float in '
    f'(0, 1]) or Tokens(count){none}',
  )


def length_in_steps(length: Length, horizon: Horizon, key: str) -> int:
  """A length in steps: fractions round down, tokens round up.

  Fractions that sum to 1 thus always fit. What is not 0 is at least one step.

  Raises:
    UserError: `length` is not a length; `key` is its gin key.
  """
  check_length(key, length, zero=True)
  if isinstance(length, Tokens):
    return math.ceil(length.count / horizon.tokens_per_step)
  if isinstance(length, float):
    # 0.29 * 100 is a hair below 29: that is noise, not a step less.
    return max(1, math.floor(round(length * horizon.steps, 6)))
  return length


def steps_left(horizon: Horizon, taken: dict[str, int], least: int = 0) -> int:
  """Steps of the phase that are not taken.

  Args:
    horizon: has the phase's length.
    taken: steps by the gin key of the length they come from.
    least: the fewest steps that must be left.

  Raises:
    UserError: fewer are left; names the keys.
  """
  total = sum(taken.values())
  left = horizon.steps - total
  most = horizon.steps - least
  expected = f'steps: must be at most {most} in a phase of {horizon.steps}'
  require(left >= least, ' + '.join(taken), total, expected)
  return left


def resolve_rate(rate: Rate, horizon: Horizon, key: str) -> float:
  """The rate as a number, 'parent' replaced by the parent's last rate.

  Raises:
    UserError: it is 'parent' and the phase has none.
  """
  if rate != 'parent':
    return float(rate)
  good = horizon.parent_rate is not None
  require(good, key, rate, 'this phase has no parent to take the rate from')
  return float(horizon.parent_rate)


def resolve_positive_rate(rate: Rate, horizon: Horizon, key: str) -> float:
  """As `resolve_rate`, for a rate that is to be trained at or decayed from.

  Raises:
    UserError: as there, or the parent ended at a rate of 0.
  """
  resolved = resolve_rate(rate, horizon, key)
  require(
    resolved > 0, key, rate, f'the rate is {resolved}, nothing would train'
  )
  return resolved
