"""The infinite schedule: a constant phase of any length, annealed on demand."""

import dataclasses

from tpu_lm.checks import is_number, require
from tpu_lm.schedules import pieces
from tpu_lm.schedules.base import (
  Curve,
  Horizon,
  Length,
  Piece,
  Rate,
  check_choice,
  check_end,
  check_length,
)
from tpu_lm.schedules.warmed import Warmed

_SHAPES = ('cosine', 'inverse_square_root', 'linear')
_TIMESCALE = 10.0  # of the authors' runs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Infinite(Warmed):
  """Warm-up, cooldown to a constant, the constant, perhaps an annealing.

  Singh et al. 2025, arXiv 2503.02844. With u from 0 to 1 over each part:

    warm-up    start + (peak - start) u
    cooldown   cosine               constant + (peak - constant)
                                      (1 + cos(pi u)) / 2
               linear               peak + (constant - peak) u
               inverse_square_root  peak + (constant - peak) f(u) / f(1),
                                    f(u) = 1 / sqrt(1 + timescale u) - 1
    constant   constant, for the steps that the other parts leave
    annealing  constant (end / constant)^u

  Without an annealing the phase leaves a trunk. New data goes on from the
  trunk with `Constant('parent')`, never from an annealed branch; the branch
  is a phase with `Exponential(end)`.

  Public code gives the constant part as a fraction of all steps, in two
  ways that are easily confused: see `from_lengths` and `from_ends`.

  Attributes:
    constant: the rate of the constant part.
    cooldown: its length.
    anneal: length of the annealing, the int 0 for none.
    end: the last step's rate: given exactly where there is an annealing.
    shape: of the cooldown.
    timescale: of shape 'inverse_square_root' alone, where None means 10.
  """

  constant: float
  cooldown: Length = 0.6
  anneal: Length = 0
  end: float | None = None
  shape: str = 'cosine'
  timescale: float | None = None

  def __post_init__(self):
    super().__post_init__()
    check_length('Infinite.cooldown', self.cooldown)
    check_length('Infinite.anneal', self.anneal, zero=True)
    self._check_constant(self.peak)
    if self.annealed:
      check_end('Infinite.end', self.end, self.constant, zero=False)
    else:
      expected = 'is not used, as there is no anneal to end there'
      require(self.end is None, 'Infinite.end', self.end, expected)
    check_choice('Infinite.shape', self.shape, _SHAPES)
    if self.timescale is not None:
      good = self.shape == 'inverse_square_root'
      expected = f'is not used by the shape {self.shape!r}'
      require(good, 'Infinite.timescale', self.timescale, expected)
      good = is_number(self.timescale) and self.timescale > 0
      expected = 'must be a positive number'
      require(good, 'Infinite.timescale', self.timescale, expected)

  def _check_constant(self, peak: Rate) -> None:
    check_end('Infinite.constant', self.constant, peak, zero=False)

  @property
  def annealed(self) -> bool:
    """Whether there is an annealing."""
    return self.anneal != 0

  def make(self, horizon: Horizon) -> Curve:
    """See `base.Schedule`."""
    peak, ramp = self._warm_up(horizon)
    self._check_constant(peak)
    rest = self._rest(horizon, 'warmup', 'cooldown', 'anneal')
    trunk = (
      *ramp,
      self._cool_down(self._steps(horizon, 'cooldown'), peak),
      pieces.constant(rest, self.constant),
    )
    if not self.annealed:
      return Curve(trunk)
    steps = self._steps(horizon, 'anneal')
    return Curve((*trunk, pieces.exponential(steps, self.constant, self.end)))

  def _cool_down(self, steps: int, peak: float) -> Piece:
    if self.shape == 'inverse_square_root':
      timescale = self.timescale or _TIMESCALE
      return pieces.inverse_square_root(steps, peak, self.constant, timescale)
    shape = pieces.cosine if self.shape == 'cosine' else pieces.linear
    return shape(steps, peak, self.constant)


def from_lengths(
  *,
  peak: Rate,
  constant: float,
  end: float,
  warmup: float,
  cooldown: float,
  constant_length: float,
  shape: str = 'cosine',
  timescale: float | None = None,
) -> Infinite:
  """The infinite schedule, its constant part given by its LENGTH.

  This is the convention of GPT-NeoX pull request 1194 (`infinite_cosine`,
  `infinite_inv_sqrt`): all parts are lengths, as fractions of all steps, and
  the annealing takes what they leave.

  Args:
    peak: as in `Infinite`.
    constant: as in `Infinite`.
    end: as in `Infinite`.
    warmup: fraction in [0, 1).
    cooldown: fraction in (0, 1).
    constant_length: fraction in [0, 1), for how long the rate is constant.
    shape: as in `Infinite`.
    timescale: as in `Infinite`.

  Raises:
    UserError: the fractions leave nothing to anneal, or as in `Infinite`.
  """
  fractions = (warmup, cooldown, constant_length)
  good = all(is_number(f) and f >= 0 for f in fractions) and sum(fractions) < 1
  expected = 'must be fractions that leave some of the phase for the annealing'
  key = 'from_lengths.warmup, cooldown, constant_length'
  require(good, key, fractions, expected)
  return Infinite(
    peak=peak,
    constant=constant,
    end=end,
    warmup=warmup or 0,
    cooldown=cooldown,
    # Rounded, lest the noise of 1 - 0.01 - 0.6 - 0.25 move a step between
    # the two conventions.
    anneal=round(1 - sum(fractions), 12),
    shape=shape,
    timescale=timescale,
  )


def from_ends(
  *,
  peak: Rate,
  constant: float,
  end: float,
  warmup: float,
  cooldown: float,
  constant_end: float,
  shape: str = 'cosine',
  timescale: float | None = None,
) -> Infinite:
  """The infinite schedule, its constant part given by its END.

  This is the convention of the authors' own fork (`cosine_cooldown_infinite`,
  `inverse_sqrt_infinite`): the constant part ends at the fraction
  `constant_end` of all steps, counted from the end of the warm-up; 0.85 after
  a cooldown of 0.6 is a constant part of 0.25.

  Args:
    peak: as in `Infinite`.
    constant: as in `Infinite`.
    end: as in `Infinite`.
    warmup: fraction in [0, 1).
    cooldown: fraction in (0, 1).
    constant_end: fraction in [cooldown, 1).
    shape: as in `Infinite`.
    timescale: as in `Infinite`.

  Raises:
    UserError: the constant part would end before it begins, or as in
      `from_lengths`.
  """
  good = is_number(cooldown) and is_number(constant_end)
  good = good and cooldown <= constant_end
  expected = f'must be a fraction no less than the cooldown, {cooldown}'
  require(good, 'from_ends.constant_end', constant_end, expected)
  return from_lengths(
    peak=peak,
    constant=constant,
    end=end,
    warmup=warmup,
    cooldown=cooldown,
    constant_length=round(constant_end - cooldown, 12),
    shape=shape,
    timescale=timescale,
  )
