"""A checkpoint as a model and its parameters, with no gin file at hand.

The model is made of the definition that was saved with it. Only classes of
`tpu_lm.models` and `tpu_lm.blocks` are made, and those that the caller gives:
nothing that a checkpoint says is executed, nor imported.
"""

import dataclasses
import functools
import importlib
import json
import pathlib
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from tpu_lm.checkpoint import Checkpoints
from tpu_lm.checks import UserError, nearest
from tpu_lm.lineage import Lineage, definition, differences, with_defaults
from tpu_lm.sharding import Mesh, state_shardings
from tpu_lm.tree import Tree

ROOMS = ('tpu_lm.models', 'tpu_lm.blocks')


@dataclasses.dataclass(frozen=True)
class Restored:
  """A checkpoint that was read.

  Attributes:
    model: a dataclass of `models/`.
    params: nested dicts of arrays, on the devices.
    lineage: what the checkpoint says of itself; its ledger too.
    config: the configuration that it was trained with, as text.
    metrics: what was measured at its step; empty, if nothing was.
  """

  model: Any
  params: Tree
  lineage: Lineage
  config: str
  metrics: Mapping[str, float]


def restore(
  folder: str | pathlib.Path,
  step: int | None = None,
  *,
  mesh: Mesh | None = None,
  classes: Sequence[type] = (),
) -> Restored:
  """Reads a checkpoint.

  Args:
    folder: of a phase: RUN_DIR/phases/NAME.
    step: along the lineage; None: the newest.
    mesh: how the parameters lie on the devices; None: on the first device.
    classes: dataclasses of yours that the model is made of.

  Raises:
    UserError: there is none, or its model is of a class that is not known.
    Damaged: it is not what was saved.
  """
  folder = pathlib.Path(folder).expanduser()
  checkpoints = Checkpoints(folder / 'checkpoints')
  steps = checkpoints.steps()
  if not steps:
    raise UserError(f'{folder}: is no folder of a phase with a checkpoint')
  step = steps[-1] if step is None else step
  record = checkpoints.record(step)
  known = record['model'] if 'model' in record else _of_the_run(folder)
  model = built(known, {kind.__name__: kind for kind in classes})
  # Tells if the class has other fields now, or other meanings.
  lines = differences(with_defaults(known, model), definition(model), 'model')
  if lines:
    raise UserError(f'{folder}: the model can not be made: {"; ".join(lines)}')
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  if mesh is None:
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    places = jax.tree.map(lambda _: place, shapes)
  else:
    places = state_shardings(mesh.make(), model.axes(), shapes, shapes)
  target = jax.tree.map(
    lambda s, place: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place),
    shapes,
    places,
  )
  return Restored(
    model,
    checkpoints.load(step, {'params': target})['params'],
    Lineage.from_json(record['lineage']),
    record['config'],
    record.get('metrics', {}),
  )


def built(known: Any, classes: Mapping[str, type]) -> Any:
  """The inverse of `lineage.definition`, lists becoming tuples.

  Args:
    known: a definition.
    classes: by name, besides those of `ROOMS`.

  Raises:
    UserError: a class is not known, or refuses a value.
  """
  if isinstance(known, list):
    return tuple(built(one, classes) for one in known)
  if not isinstance(known, dict):
    return known
  fields = {k: built(v, classes) for k, v in known.items() if k != 'class'}
  if 'class' not in known:
    return fields
  every = {**_own_classes(), **classes}
  name = known['class']
  if not isinstance(name, str) or name not in every:
    raise UserError(
      f'a checkpoint of the class {name!r}, which is not of tpu_lm: give it in'
      f' `classes`.{nearest(str(name), every)}'
    )
  own = {field.name: field for field in dataclasses.fields(every[name])}
  needed = {
    key
    for key, field in own.items()
    if field.default is field.default_factory is dataclasses.MISSING
  }
  wrong = sorted((fields.keys() - own) | (needed - fields.keys()))
  if wrong:
    raise UserError(
      f'a checkpoint whose {name} differs in {", ".join(wrong)} from ours: it'
      ' is of another version of tpu_lm'
    )
  return every[name](**fields)


def _of_the_run(folder: pathlib.Path) -> dict:
  """The model of a checkpoint of format 1, which only its run knows."""
  path = folder.resolve().parents[1] / 'run.json'
  if not path.is_file():
    raise UserError(f'{folder}: its run.json is missing, two folders above')
  return json.loads(path.read_text(encoding='utf-8'))['model']


@functools.cache
def _own_classes() -> Mapping[str, type]:
  found = {}
  for room in ROOMS:
    package = importlib.import_module(room)
    for file in pkgutil.iter_modules(package.__path__, f'{room}.'):
      for name, value in vars(importlib.import_module(file.name)).items():
        if isinstance(value, type) and dataclasses.is_dataclass(value):
          found[name] = value
  return found
