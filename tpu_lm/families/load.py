"""From a release's config and tensors to our model and its parameters."""

import dataclasses
import functools
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from tpu_lm import tree
from tpu_lm.checks import UserError, nearest, require
from tpu_lm.families import (
  bart,
  bert,
  gemma,
  gpt2,
  gpt_neox,
  llama,
  olmo2,
  qwen,
  t5,
)
from tpu_lm.families.release import Release, some
from tpu_lm.families.table import Family, Row

FAMILIES: dict[str, Family] = {
  model_type: family
  for file in (bart, bert, gemma, gpt2, gpt_neox, llama, olmo2, qwen, t5)
  for model_type, family in file.FAMILIES.items()
}


def load(
  config: Mapping[str, Any],
  tensors: Mapping[str, np.ndarray],
  **model_changes: Any,
) -> tuple[Any, tree.Tree]:
  """Builds a released model of a known family.

  Dropout is 0, whatever the config says: it is a choice of further training.

  Args:
    config: what the release's `config.json` holds.
    tensors: float arrays of any precision, by the release's names: of all
      files of safetensors together.
    **model_changes: fields of the model that are to differ from the release,
      such as dtype, remat, unroll and dropout.

  Returns:
    The model, and its parameters: nested dicts of float32 NumPy arrays, of
    the structure of `model.init`. They may share memory with `tensors`.

  Raises:
    UserError: the family is not known, the config asks for something that our
      models do not do, or a tensor is missing, left over, repeated with other
      numbers or of the wrong shape.
  """
  model_type = config.get('model_type')
  hint = f'is not known.{nearest(str(model_type), FAMILIES)}'
  require(model_type in tuple(FAMILIES), 'model_type', model_type, hint)
  family = FAMILIES[model_type]
  release = Release(config, _renamed(family, tensors))
  release.only('quantization_config')
  model = _changed(family.model(release), model_changes)
  shapes = _shapes(model)
  rows = {row.ours: row for row in family.rows}
  names = {
    ours: _names(rows, ours, leaf.shape)
    for ours, leaf in tree.named_paths(shapes).items()
  }
  used = {
    name for layers in names.values() for layer in layers for name in layer
  }
  release.find(sorted(used))  # all that is missing, told at once
  _check_rest(family, release, used)

  def read(ours: str, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
    row = rows[ours]
    shape = leaf.shape[1:] if row.stacked else leaf.shape
    parts = [row.read(shape, *release.find(layer)) for layer in names[ours]]
    return np.stack(parts) if row.stacked else np.ascontiguousarray(parts[0])

  return model, tree.map_named(read, shapes)


def _changed(model: Any, changes: Mapping[str, Any]) -> Any:
  """The model with other values in some of its fields."""
  fields = [field.name for field in dataclasses.fields(model)]
  for name in changes:
    if name not in fields:
      raise UserError(
        f'{type(model).__name__} has no {name}.{nearest(name, fields)}'
      )
  return dataclasses.replace(model, **changes)


@functools.lru_cache(maxsize=8)
def _shapes(model: Any) -> tree.Tree:
  return jax.eval_shape(model.init, jax.random.key(0))


def _renamed(
  family: Family, tensors: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """The tensors by the names of the family's table."""
  result = {}
  for theirs, value in tensors.items():
    name = theirs
    for pattern, replacement in family.renames:
      name = re.sub(pattern, replacement, name)
    if name in result:
      raise UserError(f'{theirs}: there is another tensor {name}')
    result[name] = value
  return result


def _names(
  rows: Mapping[str, Row], ours: str, shape: tuple[int, ...]
) -> list[list[str]]:
  """Their names of one parameter of ours, layer by layer."""
  if ours not in rows:
    raise UserError(f'{ours}: no tensor of this family is read into it')
  layers = shape[0] if rows[ours].stacked else 1
  return [rows[ours].names(layer) for layer in range(layers)]


def _check_rest(family: Family, release: Release, used: set[str]) -> None:
  """Raises `UserError` unless it is known why each unused tensor is unused."""
  rest = []
  for name in sorted(release.tensors.keys() - used):
    if any(re.search(pattern, name) for pattern in family.ignored):
      continue
    original = family.copies.get(name)
    if original is None:
      rest.append(name)
    elif not release.equal(name, original):
      raise UserError(
        f'{name} differs from {original}, with which the config shares it'
      )
  if rest:
    raise UserError(
      f'{release.config["model_type"]}: {some(rest)} left over, which this '
      'config has no place for'
    )
