"""Several noisers at once: each row is given to one of them."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tpu_lm.checks import check_all, check_number, nearest, require
from tpu_lm.data.noise import draws, spans
from tpu_lm.data.noise.base import PairNoiser, Pairs, Ragged
from tpu_lm.data.special_tokens import NAMES, Special


@dataclasses.dataclass(frozen=True)
class Part:
  """One of the noisers of a mixture.

  Attributes:
    noiser: what makes inputs and targets.
    weight: how often it has its turn, in relation to the other parts.
    mode: the special token that its inputs begin with, so that a model is
      told what is asked of it; '' for none.
    label: what its rows are called in reports; '' for the noiser's own names.
  """

  noiser: PairNoiser
  weight: float = 1.0
  mode: str = ''
  label: str = ''

  def __post_init__(self):
    good = isinstance(self.noiser, PairNoiser)
    expected = 'must be a noiser that gives inputs and targets'
    require(good, 'Part.noiser', self.noiser, expected)
    check_number('Part.weight', self.weight, above=0)
    good = self.mode in ('', *NAMES)
    expected = f'is no special token.{nearest(str(self.mode), NAMES)}'
    require(good, 'Part.mode', self.mode, expected)
    good = isinstance(self.label, str)
    require(good, 'Part.label', self.label, 'must be a string')


class Parts(PairNoiser):
  """What `Mixed` and the presets share.

  All rows are of one length, the longest that fits for every part, so parts
  that shorten a text more than others leave places empty; T5's and UL2's data
  pipelines have a length for each, and can therefore not say which text row
  number i holds without reading those before it.

  Attributes:
    parts: what there is to choose from.
  """

  parts: Sequence[Part]

  @property
  def labels(self) -> tuple[str, ...]:
    """The parts' labels; one that is there already gets a number."""
    labels = []
    for part in self.parts:
      for name in _labels(part):
        label, count = name, 1
        while label in labels:
          count += 1
          label = f'{name} {count}'
        labels.append(label)
    return tuple(labels)

  @property
  def names(self) -> tuple[str, ...]:
    """The parts' and their modes."""
    modes = [part.mode for part in self.parts if part.mode]
    used = [name for part in self.parts for name in part.noiser.names]
    return tuple(dict.fromkeys(modes + used))

  def sentinels(self, length: int) -> int:
    """See `Noiser`."""
    return max(part.noiser.sentinels(length) for part in self.parts)

  def sizes(self, length: int) -> tuple[int, int]:
    """See `PairNoiser`."""
    sizes = [part.noiser.sizes(length) for part in self.parts]
    modes = [part.mode != '' for part in self.parts]
    inputs = max(size[0] + mode for size, mode in zip(sizes, modes))
    return inputs, max(size[1] for size in sizes)

  def total(self, length: int) -> int:
    """See `PairNoiser`."""
    return max(p.noiser.total(length) + (p.mode != '') for p in self.parts)

  def pairs(
    self, tokens: np.ndarray, keys: np.ndarray, special: Special
  ) -> Pairs:
    """See `PairNoiser`."""
    weights = np.cumsum([part.weight for part in self.parts])
    drawn = draws.uniform(keys, 1, 'part')[:, 0] * weights[-1]
    choice = np.searchsorted(weights[:-1], drawn, side='right')
    # Keys of their own, or a mixture within this one would choose alike.
    inner = draws.bits(keys, 1, 'part key')[:, 0]
    labels = np.zeros(len(tokens), np.int64)
    rows, made, offset = [], [], 0
    for index, part in enumerate(self.parts):
      here = np.flatnonzero(choice == index)
      pairs = part.noiser.pairs(tokens[here], inner[here], special)
      labels[here] = offset + (0 if part.label else pairs.labels)
      offset += len(_labels(part))
      rows.append(here)
      made.append(pairs)
    modes = [part.mode for part in self.parts]
    first = [special.id(mode) if mode else None for mode in modes]
    none = [None] * len(modes)
    return Pairs(
      _together(rows, [pairs.inputs for pairs in made], first),
      _together(rows, [pairs.targets for pairs in made], none),
      labels,
      _positions(rows, made, none),
    )


@dataclasses.dataclass(frozen=True)
class Mixed(Parts):
  """A mixture of any noisers.

  Attributes:
    parts: what there is to choose from, see `Part`.
  """

  parts: tuple[Part, ...]

  def __post_init__(self):
    check_all('Mixed.parts', self.parts, Part, 'Part objects')
    require(len(self.parts) > 0, 'Mixed.parts', self.parts, 'must not be empty')
    object.__setattr__(self, 'parts', tuple(self.parts))  # gin's are lists


def _labels(part: Part) -> tuple[str, ...]:
  return (part.label,) if part.label else part.noiser.labels


def _together(
  rows: Sequence[np.ndarray],
  made: Sequence[Ragged],
  first: Sequence[int | None],
) -> Ragged:
  """Puts what the parts made into the rows' order.

  Args:
    rows: i64[k] for each part, the rows that it has.
    made: what it made of them.
    first: the token that comes before each of its rows, or None.
  """
  lengths = np.zeros(sum(map(len, rows)), np.int64)
  for here, ragged, token in zip(rows, made, first):
    lengths[here] = ragged.lengths + (token is not None)
  starts = np.cumsum(lengths) - lengths
  tokens = np.empty(lengths.sum(), np.int32)
  for here, ragged, token in zip(rows, made, first):
    begins = starts[here]
    if token is not None:
      tokens[begins] = token
      begins += 1
    tokens[spans.spread(begins, ragged.lengths)] = ragged.tokens
  return Ragged(tokens, lengths)


def _positions(
  rows: Sequence[np.ndarray], made: Sequence[Pairs], none: Sequence[None]
) -> np.ndarray | None:
  """The targets' positions; None where no part gives any."""
  if all(pairs.positions is None for pairs in made):
    return None
  ragged = []
  for pairs in made:
    lengths = pairs.targets.lengths
    places = pairs.positions
    if places is None:
      places = spans.spread(lengths * 0, lengths)
    ragged.append(Ragged(places, lengths))
  return _together(rows, ragged, none).tokens
