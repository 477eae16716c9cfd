"""Other ways to run a phase on the same devices, one change at a time."""

import dataclasses
import math
from collections.abc import Iterator

from tpu_lm.models.stack import REMAT_POLICIES
from tpu_lm.phase import Run
from tpu_lm.shapes import BATCH
from tpu_lm.sharding import RULES, Mesh
from tpu_lm.stages import Stage

Candidate = tuple[str, Run, Stage]


def candidates(run: Run, stage: Stage, devices: int) -> Iterator[Candidate]:
  """The configuration itself, then what differs from it in one thing.

  Args:
    run: the run.
    stage: the phase in its place.
    devices: how many there are.

  Yields:
    What was changed, the run, and the stage. Batches divide over the mesh.
  """
  yield 'as configured', run, stage
  for policy in REMAT_POLICIES:
    if policy != run.model.remat:
      model = dataclasses.replace(run.model, remat=policy)
      yield f'remat={policy}', dataclasses.replace(run, model=model), stage
  for rows in (stage.phase.batch_size // 2, stage.phase.batch_size * 2):
    if _divides(rows, stage, run.mesh, devices):
      phase = dataclasses.replace(stage.phase, batch_size=rows)
      changed = dataclasses.replace(stage, phase=phase)
      yield f'batch_size={rows}', run, changed
  for mesh in _meshes(devices):
    same = _sizes(mesh, devices) == _sizes(run.mesh, devices)
    if not same and _divides(stage.phase.batch_size, stage, mesh, devices):
      text = ', '.join(
        f'{axis}={size}'
        for axis, size in dataclasses.asdict(mesh).items()
        if size != 1
      )
      yield text, dataclasses.replace(run, mesh=mesh), stage


def _meshes(devices: int) -> Iterator[Mesh]:
  yield Mesh(data=1, fsdp=devices)
  for size in (2, 4, 8):
    if devices % size == 0 and devices > size:
      rest = devices // size
      yield Mesh(data=size, fsdp=rest)
      yield Mesh(data=1, fsdp=rest, tensor=size)
      yield Mesh(data=1, fsdp=rest, sequence=size)


def _sizes(mesh: Mesh, devices: int) -> dict[str, int]:
  sizes = dataclasses.asdict(mesh)
  left = devices // abs(math.prod(sizes.values()))
  return {axis: left if size < 0 else size for axis, size in sizes.items()}


def _divides(rows: int, stage: Stage, mesh: Mesh, devices: int) -> bool:
  sizes = _sizes(mesh, devices)
  shards = math.prod(sizes[axis] for axis in RULES[BATCH])
  return rows > 0 and rows % (shards * stage.phase.micro_batches) == 0
