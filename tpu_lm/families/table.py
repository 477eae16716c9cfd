"""What a family is: a model of ours, and a table of tensor names.

A row says which of their tensors becomes which of our parameters, and how. The
functions below are the ways that several families share; each is given our
shape and their tensors, and checks theirs.

Theirs are torch's: a linear layer keeps [outputs, inputs], and heads are the
slower part of H * K.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tpu_lm.families.release import Release, Tensor

Shape = tuple[int, ...]


class Row(NamedTuple):
  """Where one parameter of ours comes from.

  Attributes:
    ours: path of the parameter, such as 'layers/attention/query'. A row whose
      parameter the model does not have is passed over.
    theirs: name of the tensor, or names; '{layer}' where ours is stacked.
    read: from our shape (of one layer) and their tensors to an array of it.
  """

  ours: str
  theirs: str | tuple[str, ...]
  read: Callable[..., np.ndarray]

  @property
  def stacked(self) -> bool:
    """Whether each layer has tensors of its own."""
    return '{layer}' in str(self.theirs)

  def names(self, layer: int) -> list[str]:
    """Their names in one layer; any layer, where they are not stacked."""
    theirs = [self.theirs] if isinstance(self.theirs, str) else self.theirs
    return [name.format(layer=layer) for name in theirs]


class Family(NamedTuple):
  """One `model_type`.

  Attributes:
    model: from a release to our model, in float32 unless it says otherwise.
    rows: the table.
    copies: tensors that repeat another one where our model has them once: the
      repeating name by the name repeated. They must hold the same numbers.
    ignored: tensors that are left aside: the reason by regular expression.
    renames: regular expressions and replacements, applied to the names of a
      release in turn: how older or partial releases of the family differ.
  """

  model: Callable[[Release], Any]
  rows: tuple[Row, ...]
  copies: dict[str, str]
  ignored: dict[str, str]
  renames: tuple[tuple[str, str], ...] = ()


def kept(shape: Shape, tensor: Tensor) -> np.ndarray:
  """A table or a scale: the same shape."""
  return tensor.shaped(*shape)


def flat(shape: Shape, tensor: Tensor) -> np.ndarray:
  """A bias: [H * K] to [H, K]."""
  return tensor.shaped(math.prod(shape)).reshape(shape)


def into(shape: Shape, tensor: Tensor) -> np.ndarray:
  """A linear layer from D: [H * K, D] to [D, H, K], or [F, D] to [D, F]."""
  inputs, *outputs = shape
  return tensor.shaped(math.prod(outputs), inputs).T.reshape(shape)


def out(shape: Shape, tensor: Tensor) -> np.ndarray:
  """A linear layer to D: [D, H * K] to [H, K, D], or [D, F] to [F, D]."""
  *inputs, outputs = shape
  return tensor.shaped(outputs, math.prod(inputs)).T.reshape(shape)


def affine(ours: str, theirs: str) -> tuple[Row, Row]:
  """The rows of a norm: '{ours}/scale' and '{ours}/bias'."""
  return (
    Row(f'{ours}/scale', f'{theirs}.weight', kept),
    Row(f'{ours}/bias', f'{theirs}.bias', kept),
  )


def linear(
  ours: str, theirs: str, read: Callable[..., np.ndarray]
) -> tuple[Row, Row]:
  """The rows of a linear layer: '{ours}' and '{ours}_bias'."""
  return (
    Row(ours, f'{theirs}.weight', read),
    Row(f'{ours}_bias', f'{theirs}.bias', flat),
  )
