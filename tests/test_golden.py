"""Twenty steps of two tiny runs, recorded: numerics are part of the contract.

A change that means to change them records them again, and says so:
  python -m tests.test_golden
"""

import dataclasses
import json
import pathlib
import sys
import tempfile

import numpy as np
import pytest

from tests import tiny
from tpu_lm.blocks.attention import Attention
from tpu_lm.blocks.heads import Separate
from tpu_lm.data.mixing import Mixture
from tpu_lm.loop import train
from tpu_lm.objectives.cross_entropy import CrossEntropy
from tpu_lm.optimizers.muon import Muon
from tpu_lm.phase import Evaluate, Phase, Run
from tpu_lm.schedules.cosine import Cosine

GOLDEN = pathlib.Path(__file__).parent / 'golden'
PHASE = {
  'name': 'only',
  'mixture': Mixture(weights={'letters': 0.7, 'code': 0.3}),
  'schedule': Cosine(peak=1e-2, end=1e-3, warmup=4),
  'length': 20,
  'batch_size': 8,
  'sequence_length': 32,
  'evaluate': Evaluate(every=10, dense_every=10, rows=8),
}
RUNS = {
  'adamw': (tiny.decoder(), Phase(**PHASE)),
  'muon_untied_query_key_norm_z_loss': (
    tiny.decoder(
      head=Separate(),
      attention=Attention(query_key_norm='head'),
      remat='dots',
    ),
    dataclasses.replace(
      Phase(**PHASE),
      optimizer=Muon(),
      objective=CrossEntropy(z_loss=1e-4),
      micro_batches=2,
      mask_documents=False,
    ),
  ),
}


def losses(name, folder):
  """{metric: values}, of every step and evaluation."""
  model, phase = RUNS[name]
  run = Run(
    name=name,
    model=model,
    phases=(phase,),
    corpus=tiny.corpus(folder / 'stores'),
    log_every=1,
  )
  train(run, folder / 'run')
  series = {}
  for line in (folder / 'run' / 'metrics.jsonl').read_text().splitlines():
    point = json.loads(line)
    series.setdefault(point['name'], []).append(point['value'])
  return series


@pytest.mark.parametrize('name', RUNS)
def test_losses_are_as_recorded(name, tmp_path):
  want = json.loads((GOLDEN / f'{name}.json').read_text())
  got = losses(name, tmp_path)
  assert got.keys() == want.keys()
  for metric, values in want.items():
    # Other machines round otherwise; a wrong formula is far outside this.
    np.testing.assert_allclose(
      got[metric], values, rtol=2e-3, atol=2e-4, err_msg=metric
    )


if __name__ == '__main__':
  for run_name in RUNS:
    with tempfile.TemporaryDirectory() as temporary:
      recorded = losses(run_name, pathlib.Path(temporary))
    text = json.dumps(recorded, indent=1)
    (GOLDEN / f'{run_name}.json').write_text(text + '\n')
    print(run_name, recorded['train/loss'][-1], file=sys.stderr)
