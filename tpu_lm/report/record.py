"""Reads a run folder into plain objects; the only file here that knows its
layout.

A run being written is read as it is: half a line at the end, a phase without
a first evaluation and values that are not finite are left out, each with a
note that the page prints.
"""

import dataclasses
import math
import pathlib
from collections.abc import Iterator
from typing import Any

from tpu_lm.checks import UserError
from tpu_lm.report.bad_steps import BadStep, bad_steps
from tpu_lm.report.files import read_json, read_lineage, read_metrics

VALIDATION = 'validation/loss/'
REPLAY = 'replay:'


@dataclasses.dataclass(frozen=True)
class Phase:
  """One phase of the tree, as its lineage and its metrics tell it.

  Attributes:
    name: unique within the run.
    parent: name of the parent phase in this run folder, or None.
    origin: words for a parent outside the folder, or None.
    kind: 'trunk' (training may go on from here) or 'annealed'.
    done: False while the phase has not reached its end.
    start_step, end_step: along the lineage; the end is the last step heard
      of while the phase is not done.
    start_tokens, end_tokens: the same in tokens.
    learning_rate: the last one used, or None.
    sources: names it was meant to read, replay not counted.
    seen: names its lineage had read before it began.
    read: tokens of each source read in this phase; replayed tokens are
      under 'replay:NAME'.
    definition: the phase as it was configured.
    metrics: {metric: {step: value}}, values as written (NaN included).
    tokens_per_second: median over the phase, or None.
    goodput: share of the time that its steps had, as last written, or None.
    utilisation: of the devices' peak, median, or None.
    bad_steps: those that its guard met.
  """

  name: str
  parent: str | None
  origin: str | None
  kind: str
  done: bool
  start_step: int
  end_step: int
  start_tokens: int
  end_tokens: int
  learning_rate: float | None
  sources: tuple[str, ...]
  seen: frozenset[str]
  read: dict[str, int]
  definition: dict[str, Any]
  metrics: dict[str, dict[int, float]]
  tokens_per_second: float | None
  goodput: float | None
  utilisation: float | None
  bad_steps: tuple[BadStep, ...] = ()

  @property
  def steps(self) -> int:
    """Steps taken in this phase."""
    return self.end_step - self.start_step

  @property
  def tokens(self) -> int:
    """Tokens read in this phase."""
    return self.end_tokens - self.start_tokens

  def curve(self, metric: str) -> list[tuple[int, float]]:
    """The finite (step, value) pairs of a metric, by step."""
    points = sorted(self.metrics.get(metric, {}).items())
    return [(step, value) for step, value in points if math.isfinite(value)]

  def noise(self, source: str) -> Any:
    """The noise that it was evaluated with on a source, as configured."""
    noise = (self.definition.get('mixture') or {}).get('noise')
    if isinstance(noise, dict) and not isinstance(noise.get('class'), str):
      return noise.get(source)
    return noise

  def entry(self, source: str) -> float | None:
    """The parent's validation loss on `source`, measured on entry."""
    return _finite(self.metrics.get(VALIDATION + source, {}), self.start_step)

  def final(self, source: str) -> float | None:
    """The last validation loss on `source`; None if it is not finite."""
    points = self.metrics.get(VALIDATION + source, {})
    last = max(points, default=None)
    return None if last is None else _finite(points, last)


@dataclasses.dataclass(frozen=True)
class RunRecord:
  """A run folder.

  Attributes:
    directory: where it is.
    facts: run.json.
    phases: by name, parents before children, else in the order they ran.
    sources: every evaluated or read source, in the order of first reading.
    evaluated: those of `sources` that have a validation loss.
    notes: what was left out, and why.
  """

  directory: pathlib.Path
  facts: dict[str, Any]
  phases: dict[str, Phase]
  sources: tuple[str, ...]
  evaluated: tuple[str, ...]
  notes: tuple[str, ...]

  @property
  def name(self) -> str:
    """The run's name, else its folder's."""
    return str(self.facts.get('name') or self.directory.resolve().name)

  def children(self, phase: Phase) -> list[Phase]:
    """The phases that continue from `phase`, in order."""
    return [p for p in self.phases.values() if p.parent == phase.name]


def read_run(run_dir: str | pathlib.Path) -> RunRecord:
  """Reads a run folder, finished or not.

  Raises:
    UserError: there is no phase in it.
  """
  directory = pathlib.Path(run_dir)
  notes: list[str] = []
  lineages = {}
  for path in sorted(directory.glob('phases/*/lineage.json')):
    lineage = read_lineage(path, notes)
    if lineage:
      lineages[lineage.get('phase') or path.parent.name] = lineage
  if not lineages:
    raise UserError(f'{directory} is not a run folder: it has no phases')
  metrics, tokens = read_metrics(directory / 'metrics.jsonl', notes)
  timings, _ = read_metrics(directory / 'timings.jsonl', notes)
  evaluated = {
    metric.removeprefix(VALIDATION): None
    for series in metrics.values()
    for metric in series
    if metric.startswith(VALIDATION)
  }
  ran = [*(name for name in metrics if name in lineages)]
  ran += [name for name in lineages if name not in metrics]
  phases = {
    name: _phase(
      name,
      lineages,
      metrics.get(name, {}),
      tokens.get(name, {}),
      timings.get(name, {}),
      set(evaluated),
      notes,
    )
    for name in ran
  }
  phases = {phase.name: phase for phase in _walk(phases, None)}
  read = {s: None for p in phases.values() for s in (*p.sources, *p.seen)}
  return RunRecord(
    directory=directory,
    facts=read_json(directory / 'run.json', notes) or {},
    phases=phases,
    sources=tuple({**read, **evaluated}),
    evaluated=tuple(s for s in {**read, **evaluated} if s in evaluated),
    notes=tuple(notes),
  )


def _walk(phases: dict[str, Phase], parent: str | None) -> Iterator[Phase]:
  """Depth first, so that a chain's phases follow each other."""
  for phase in phases.values():
    if phase.parent == parent:
      yield phase
      yield from _walk(phases, phase.name)


def _phase(name, lineages, metrics, tokens, timings, evaluated, notes) -> Phase:
  """One phase from its lineage and what was logged of it."""
  lineage = lineages[name]
  parent = lineage.get('parent') or {}
  inside = origin = None
  above, step = parent.get('phase'), parent.get('step') or 0
  if not parent.get('path') and above in lineages:
    inside = above
  elif parent:
    origin = f'{above} at step {step:,}'
    if not parent.get('path'):
      notes.append(f'{name}: its parent {above} is not in the folder')
  for metric, series in metrics.items():
    skipped = [step for step, v in series.items() if not math.isfinite(v)]
    if skipped:
      notes.append(
        f'{name}: {metric} is not finite at {len(skipped)} of {len(series)}'
        f' points, first at step {min(skipped):,}; they are left out'
      )
  done = lineage.get('status') == 'done'
  start_step = lineage.get('start_step') or 0
  start_tokens = lineage.get('start_tokens') or 0
  heard = max((max(series) for series in metrics.values()), default=start_step)
  before = _tokens(lineage, 'entry_ledger')
  read = {
    source: count - before.get(source, 0)
    for source, count in _tokens(lineage, 'ledger').items()
    if count > before.get(source, 0)
  }
  definition = lineage.get('definition') or {}
  return Phase(
    name=name,
    parent=inside,
    origin=origin,
    kind=lineage.get('kind') or 'annealed',
    done=done,
    start_step=start_step,
    end_step=(lineage.get('end_step') or heard)
    if done
    else max(heard, start_step),
    start_tokens=start_tokens,
    end_tokens=(
      lineage.get('end_tokens') or start_tokens
      if done
      else max(tokens.values(), default=start_tokens)
    ),
    learning_rate=lineage.get('learning_rate'),
    sources=_sources(definition, read, evaluated),
    seen=frozenset(s.removeprefix(REPLAY) for s, n in before.items() if n),
    read=read,
    definition=definition,
    metrics=metrics,
    tokens_per_second=_median(timings.get('tokens_per_second', {})),
    goodput=_last(timings.get('goodput', {})),
    utilisation=_median(timings.get('utilisation', {})),
    bad_steps=tuple(bad_steps(name, lineage)),
  )


def _median(series: dict[int, float]) -> float | None:
  values = sorted(series.values())
  return values[len(values) // 2] if values else None


def _last(series: dict[int, float]) -> float | None:
  return series[max(series)] if series else None


def _sources(definition, read, evaluated) -> tuple[str, ...]:
  """The sources a phase was meant to read.

  Its mixture's names, where each of them is a source; the name of a seqio
  Mixture is not one, and then the ledger tells.
  """
  mixture = definition.get('mixture') or {}
  weights = [mixture.get('weights') or {}]
  weights += (mixture.get('changes') or {}).values()
  wanted = {name: None for w in weights for name in _names(w)}
  if wanted and wanted.keys() <= evaluated | read.keys():
    return tuple(wanted)
  return tuple(s for s in read if not s.startswith(REPLAY)) or tuple(wanted)


def _names(weights: dict) -> list[str]:
  """The names in weights as a definition has them, see `data/weights.py`."""
  if isinstance(weights.get('class'), str):  # worked out from sizes
    return list(weights.get('sources') or weights.get('tokens') or ())
  return [name for name, share in weights.items() if share]


def _tokens(lineage: dict, ledger: str) -> dict[str, int]:
  return (lineage.get(ledger) or {}).get('tokens') or {}


def _finite(points: dict[int, float], step: int) -> float | None:
  value = points.get(step, math.nan)
  return value if math.isfinite(value) else None
