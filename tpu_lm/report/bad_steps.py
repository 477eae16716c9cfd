"""Steps from which nothing was kept, as a lineage tells them."""

import dataclasses
from collections.abc import Iterator


@dataclasses.dataclass(frozen=True)
class BadStep:
  """A step from which nothing was kept.

  Attributes:
    step: along the lineage.
    why: as a line.
    back_to: step that the phase was rolled back to, or None.
    rows: that were read for nothing, of all sources.
  """

  step: int
  why: str
  back_to: int | None
  rows: int


def bad_steps(name: str, lineage: dict) -> Iterator[BadStep]:
  """Those of the phase `name`."""
  for one in (lineage.get('ledger') or {}).get('skipped') or ():
    if one['phase'] == name:
      rows = sum(stop - start for start, stop in one['rows'].values())
      yield BadStep(one['step'], one['why'], one['back_to'], rows)
