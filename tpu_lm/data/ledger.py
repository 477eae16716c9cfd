"""The whole state of the data of a run: a handful of integers."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tpu_lm.checks import UserError

REPLAY = 'replay:'


def row_key(source: str, label: str) -> str:
  """Names the cursor of a source at a length of rows: 'prose@256'.

  Args:
    source: its name.
    label: of the rows: the tokens of the source that one takes, and where an
      encoder and a decoder read whole examples those of both, '512+114'.
  """
  return f'{source}@{label}'


def split_key(key: str) -> tuple[str, str]:
  """The source and the label of a `row_key`."""
  source, label = key.rsplit('@', 1)
  return source, label


def tokens_of(label: str) -> int:
  """Tokens of a row with this label."""
  return sum(map(int, label.split('+')))


@dataclasses.dataclass(frozen=True)
class Ledger:
  """What a lineage has read, and where it goes on. Immutable.

  Attributes:
    seed: the row order's, set by the lineage's first phase.
    rows: rows taken of each source at a sequence length; keys of `row_key`.
    debts: the mixing rule's integers; their sum is 0.
    tokens: tokens read of each source.
    stores: fingerprint of the store that each source was read from.
  """

  seed: int = 0
  rows: Mapping[str, int] = dataclasses.field(default_factory=dict)
  debts: Mapping[str, int] = dataclasses.field(default_factory=dict)
  tokens: Mapping[str, int] = dataclasses.field(default_factory=dict)
  stores: Mapping[str, str] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    for name in ('rows', 'debts', 'tokens', 'stores'):
      view = MappingProxyType(dict(getattr(self, name)))
      object.__setattr__(self, name, view)

  def to_json(self) -> dict[str, Any]:
    """The ledger as plain dictionaries, sorted by name."""
    return {
      field.name: dict(sorted(value.items()))
      if isinstance(value := getattr(self, field.name), Mapping)
      else value
      for field in dataclasses.fields(self)
    }

  @classmethod
  def from_json(cls, record: Mapping[str, Any]) -> 'Ledger':
    """Reads what `to_json` gave.

    Raises:
      UserError: it is no ledger: a key is missing or unknown, a number is no
        integer or negative, the debts don't sum to 0.
    """
    _check(record)
    return cls(**record)


def _check(record: Any) -> None:
  fields = [field.name for field in dataclasses.fields(Ledger)]
  if not isinstance(record, Mapping) or set(record) != set(fields):
    raise UserError(f'ledger: expected the keys {fields}, got {record!r}')
  for name in ('rows', 'debts', 'tokens', 'stores'):
    if not isinstance(record[name], Mapping):
      raise UserError(f'ledger: {name} = {record[name]!r}: must be a mapping')
    wanted = str if name == 'stores' else int
    for key, value in record[name].items():
      if type(key) is not str or type(value) is not wanted:
        raise UserError(
          f'ledger: {name}[{key!r}] = {value!r}: must be of {wanted.__name__}'
        )
      if name in ('rows', 'tokens') and value < 0:
        raise UserError(f'ledger: {name}[{key!r}] = {value}: must be >= 0')
  if type(record['seed']) is not int:
    raise UserError(f'ledger: seed = {record["seed"]!r}: must be an integer')
  if sum(record['debts'].values()):
    raise UserError('ledger: the debts must sum to 0')
