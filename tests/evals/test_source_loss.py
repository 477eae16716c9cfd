import dataclasses

import jax
import pytest

from tests import tiny
from tpu_lm.evals.source_loss import SourceLoss
from tpu_lm.phase import Evaluate


def test_a_batch_filled_up_counts_for_what_it_holds(tmp_path):
  run = tiny.tree_run(tmp_path)
  params, mesh = run.model.init(jax.random.key(0)), run.mesh.make()
  losses = []
  for batch_size in (1, 4):  # 6 rows: six batches, or one and a half
    phase = dataclasses.replace(
      run.phases[0], batch_size=batch_size, evaluate=Evaluate(rows=6)
    )
    with jax.set_mesh(mesh):
      losses.append(SourceLoss(run, phase, mesh, ['letters']).run(params))
  assert losses[0].keys() == {'validation/loss/letters'}
  assert losses[0] == pytest.approx(losses[1], rel=1e-5)
