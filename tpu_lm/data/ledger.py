"""The whole state of the data of a run: a handful of integers."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tpu_lm.checks import UserError

REPLAY = 'replay:'
MAPPINGS = ('rows', 'debts', 'tokens', 'stores')


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
class Skipped:
  """Rows that were read and from which nothing was kept.

  Attributes:
    phase: that read them.
    step: along the lineage: the one whose numbers were bad.
    back_to: step that the phase was rolled back to; None: only `step` itself
      was skipped.
    why: what was bad, as a line.
    rows: first row and the one after the last, by `row_key`.
    stores: fingerprint of the store of each source.
  """

  phase: str
  step: int
  back_to: int | None
  why: str
  rows: Mapping[str, tuple[int, int]]
  stores: Mapping[str, str]

  def to_json(self) -> dict[str, Any]:
    """Plain JSON values."""
    rows = {key: list(pair) for key, pair in sorted(self.rows.items())}
    return {**vars(self), 'rows': rows, 'stores': dict(self.stores)}

  @classmethod
  def between(
    cls,
    before: 'Ledger',
    after: 'Ledger',
    phase: str,
    step: int,
    back_to: int | None,
    why: str,
  ) -> 'Skipped':
    """All that was read from one ledger to a later one."""

    def start(key: str) -> int:
      # With a new store a source's rows are counted from 0 again.
      source = split_key(key)[0].removeprefix(REPLAY)
      same = before.stores.get(source) == after.stores.get(source)
      return before.rows.get(key, 0) if same else 0

    rows = {
      key: (start(key), stop)
      for key, stop in after.rows.items()
      if stop > start(key)
    }
    sources = {split_key(key)[0].removeprefix(REPLAY) for key in rows}
    stores = {name: after.stores[name] for name in sorted(sources)}
    return cls(phase, step, back_to, why, rows, stores)


@dataclasses.dataclass(frozen=True)
class Ledger:
  """What a lineage has read, and where it goes on. Immutable.

  Attributes:
    seed: the row order's, set by the lineage's first phase.
    rows: rows taken of each source at a sequence length; keys of `row_key`.
    debts: the mixing rule's integers; their sum is 0.
    tokens: tokens read of each source.
    stores: fingerprint of the store that each source was read from.
    skipped: rows, among those in `rows`, from which nothing was kept.
  """

  seed: int = 0
  rows: Mapping[str, int] = dataclasses.field(default_factory=dict)
  debts: Mapping[str, int] = dataclasses.field(default_factory=dict)
  tokens: Mapping[str, int] = dataclasses.field(default_factory=dict)
  stores: Mapping[str, str] = dataclasses.field(default_factory=dict)
  skipped: tuple[Skipped, ...] = ()

  def __post_init__(self):
    for name in MAPPINGS:
      view = MappingProxyType(dict(getattr(self, name)))
      object.__setattr__(self, name, view)

  def to_json(self) -> dict[str, Any]:
    """The ledger as plain JSON values, sorted by name."""
    record: dict[str, Any] = {'seed': self.seed}
    for name in MAPPINGS:
      record[name] = dict(sorted(getattr(self, name).items()))
    return record | {'skipped': [one.to_json() for one in self.skipped]}

  @classmethod
  def from_json(cls, record: Mapping[str, Any]) -> 'Ledger':
    """Reads what `to_json` gave, also before anything could be skipped.

    Raises:
      UserError: it is no ledger: a key is missing or unknown, a number is no
        integer or negative, the debts don't sum to 0.
    """
    if isinstance(record, Mapping):
      record = {'skipped': [], **record}
    _check(record)
    skipped = tuple(_skipped(one) for one in record['skipped'])
    return cls(**{**record, 'skipped': skipped})


def _skipped(one: Any) -> Skipped:
  """Reads what `Skipped.to_json` gave."""
  fields = {field.name for field in dataclasses.fields(Skipped)}
  kinds = {'phase': str, 'step': int, 'why': str, 'rows': dict, 'stores': dict}
  good = isinstance(one, Mapping) and set(one) == fields
  good = good and all(type(one[name]) is kind for name, kind in kinds.items())
  good = good and type(one['back_to']) in (int, type(None))
  good = good and all(_is_span(pair) for pair in one['rows'].values())
  if not good:
    raise UserError(f'ledger: skipped: {one!r}: is no record of skipped rows')
  return Skipped(
    **{**one, 'rows': {k: tuple(v) for k, v in one['rows'].items()}}
  )


def _is_span(pair: Any) -> bool:
  good = isinstance(pair, list) and [type(end) for end in pair] == [int, int]
  return good and 0 <= pair[0] < pair[1]


def _check(record: Any) -> None:
  fields = [field.name for field in dataclasses.fields(Ledger)]
  if not isinstance(record, Mapping) or set(record) != set(fields):
    raise UserError(f'ledger: expected the keys {fields}, got {record!r}')
  for name in MAPPINGS:
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
  if not isinstance(record['skipped'], list):
    raise UserError(f'ledger: skipped = {record["skipped"]!r}: must be a list')
  if type(record['seed']) is not int:
    raise UserError(f'ledger: seed = {record["seed"]!r}: must be an integer')
  if sum(record['debts'].values()):
    raise UserError('ledger: the debts must sum to 0')
