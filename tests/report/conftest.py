"""A run folder written by hand, phase by phase."""

import json
import pathlib

import pytest

TOKENS_PER_STEP = 100


class RunFolder:
  """Writes what a run would write; every number is the test's own."""

  def __init__(self, path: pathlib.Path, **facts):
    self.path = path
    self.lineages = {}
    path.mkdir(parents=True, exist_ok=True)
    facts = {'format': 1, 'run': 'abc123', 'name': 'tiny', 'seed': 0} | facts
    (path / 'run.json').write_text(json.dumps(facts))

  def phase(
    self,
    name,
    parent=None,
    steps=100,
    kind='annealed',
    status='done',
    sources=('prose',),
    replay=None,
    rates=(3e-4, 3e-5),
    branch_step=None,
    outside=None,
    noise=None,
    **losses,
  ):
    """Adds a phase.

    Args:
      losses: source=[loss on entry, ..., loss at the end], evenly spaced.
      replay: {source: share of the tokens read}.
      branch_step: where it leaves its parent, if not at its end.
      outside: a lineage-like parent that is not in this folder.
      noise: as a lineage's definition has it.
    """
    before = self.lineages.get(parent) or outside or {}
    start = before.get('end_step', 0) if branch_step is None else branch_step
    tokens = steps * TOKENS_PER_STEP
    entry = dict(before.get('ledger', {}).get('tokens', {}))
    shares = {f'replay:{s}': share for s, share in (replay or {}).items()}
    rest = (1 - sum(shares.values())) / len(sources)
    shares |= dict.fromkeys(sources, rest)
    ledger = dict(entry)
    for source, share in shares.items():
      ledger[source] = ledger.get(source, 0) + round(share * tokens)
    if outside:
      parent_entry = outside['parent']
    else:
      parent_entry = parent and {'phase': parent, 'step': start, 'path': None}
    lineage = {
      'format': 1,
      'run': 'abc123',
      'phase': name,
      'parent': parent_entry,
      'kind': kind,
      'status': status,
      'start_step': start,
      'end_step': start + steps,
      'start_tokens': start * TOKENS_PER_STEP,
      'end_tokens': (start + steps) * TOKENS_PER_STEP,
      'learning_rate': rates[-1],
      'entry_ledger': {'tokens': entry},
      'ledger': {'tokens': ledger},
      'definition': {
        'name': name,
        'mixture': {
          'weights': dict.fromkeys(sources, 1.0),
          'changes': {},
          'noise': noise,
        },
        'schedule': {'class': 'Cosine'},
      },
    }
    self.lineages[name] = lineage
    folder = self.path / 'phases' / name
    folder.mkdir(parents=True)
    (folder / 'lineage.json').write_text(json.dumps(lineage))
    for source, values in losses.items():
      self.series(name, f'validation/loss/{source}', start, steps, values)
    self.series(name, 'learning_rate', start, steps, rates)
    return self

  def series(self, phase, metric, start, steps, values):
    """Logs values, evenly spaced from the phase's start to its end."""
    gaps = max(len(values) - 1, 1)
    for i, value in enumerate(values):
      self.point(phase, metric, start + round(i * steps / gaps), value)

  def point(self, phase, metric, step, value, file='metrics.jsonl'):
    """Logs one value."""
    line = {
      'step': step,
      'phase': phase,
      'name': metric,
      'value': value,
      'tokens': step * TOKENS_PER_STEP,
    }
    with open(self.path / file, 'a') as out:
      out.write(json.dumps(line) + '\n')


@pytest.fixture
def run_folder(tmp_path):
  """Makes run folders: `run_folder(name='...')`."""
  made = []

  def make(**facts):
    made.append(RunFolder(tmp_path / f'run{len(made)}', **facts))
    return made[-1]

  return make
