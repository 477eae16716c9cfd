import dataclasses

import pytest

from tests import tiny
from tpu_lm.forecast.search import candidates
from tpu_lm.sharding import Mesh
from tpu_lm.stages import lay_out


def ways(tmp_path, devices, **changes):
  run = tiny.tree_run(tmp_path)
  run = dataclasses.replace(run, mesh=Mesh(**changes.pop('mesh', {})))
  phase = dataclasses.replace(run.phases[0], **changes)
  run = dataclasses.replace(run, phases=(phase,))
  [stage] = lay_out(run, tmp_path / 'run')
  return run, {
    name: (changed, other)
    for name, changed, other in candidates(run, stage, devices)
  }


def test_one_thing_changes_at_a_time(tmp_path):
  run, found = ways(tmp_path, 8, batch_size=16)
  assert next(iter(found)) == 'as configured'
  for name, (changed, stage) in found.items():
    differing = [
      changed.model != run.model,
      changed.mesh != run.mesh,
      stage.phase != run.phases[0],
    ]
    assert sum(differing) == (name != 'as configured'), name
  assert {'remat=full', 'remat=dots', 'batch_size=8', 'batch_size=32'} <= {
    *found
  }
  assert found['fsdp=2, tensor=4'][0].mesh == Mesh(1, 2, 4, 1)
  # The mesh as it is (data = -1) is not tried again.
  assert not any(mesh.mesh == Mesh(8, 1, 1, 1) for mesh, _ in found.values())


@pytest.mark.parametrize(('rows', 'micro'), [(8, 1), (24, 3), (12, 1)])
def test_batches_divide_over_the_mesh(tmp_path, rows, micro):
  mesh = {'data': 4 if rows == 12 else 8, 'tensor': 2 if rows == 12 else 1}
  _, found = ways(tmp_path, 8, mesh=mesh, batch_size=rows, micro_batches=micro)
  for changed, stage in found.values():
    sizes = changed.mesh
    shards = sizes.data * sizes.fsdp * sizes.expert
    assert stage.phase.batch_size % (shards * micro) == 0
