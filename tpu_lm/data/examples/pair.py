"""Inputs and targets: translation, summaries, questions and answers."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from tpu_lm.checks import require
from tpu_lm.data.examples.fields import check_field, text_at, top_level


@dataclasses.dataclass(frozen=True)
class Pair:
  """A text to read and a text to write; the loss is on the second alone.

  Attributes:
    inputs: the field that is read.
    targets: the field that is predicted; where it is empty there is nothing
      to learn from the record.
    prefix: put before the inputs, such as 'translate English to German: '.
    separator: put between the two, and not predicted.
  """

  inputs: str = 'inputs'
  targets: str = 'targets'
  prefix: str = ''
  separator: str = '\n'

  whole: ClassVar[bool] = True
  masked: ClassVar[bool] = True

  def __post_init__(self):
    owner = type(self).__name__
    for name in ('inputs', 'targets'):
      check_field(f'{owner}.{name}', getattr(self, name))
    for name in ('prefix', 'separator'):
      value = getattr(self, name)
      require(
        isinstance(value, str), f'{owner}.{name}', value, 'must be a string'
      )

  @property
  def fields(self) -> tuple[str, ...]:
    """The keys of the record that hold the two texts."""
    return top_level(self.inputs, self.targets)

  def pieces(self, record: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """What is read, then what is predicted; see `Example`."""
    inputs = text_at(record, self.inputs)
    return self._pieces(inputs, text_at(record, self.targets))

  def _pieces(self, inputs: str, targets: str) -> list[tuple[str, bool]]:
    if not targets:
      return []
    return [(self.prefix + inputs + self.separator, False), (targets, True)]


@dataclasses.dataclass(frozen=True)
class ReversedPair(Pair):
  """A pair whose inputs are read from their last word to their first.

  Sutskever et al. 2014 (arXiv:1409.3215, section 3.3) found that a recurrent
  network translates better so, its first words having their sources near. A
  word is what white space parts; what stands between words becomes one space.
  Prefix, separator and targets stay as they are.
  """

  def pieces(self, record: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """See `Pair`."""
    words = text_at(record, self.inputs).split()
    targets = text_at(record, self.targets)
    return self._pieces(' '.join(reversed(words)), targets)
