"""A released model: its config and its tensors, read without guessing."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from tpu_lm.checks import UserError, check_number, nearest, require

# What the families call an activation, and what we do.
ACTIVATIONS = {
  'gelu': 'gelu',
  'gelu_fast': 'gelu_tanh',
  'gelu_new': 'gelu_tanh',
  'gelu_pytorch_tanh': 'gelu_tanh',
  'relu': 'relu',
  'silu': 'silu',
  'swish': 'silu',
}


class Tensor(NamedTuple):
  """One tensor of a release."""

  name: str
  value: np.ndarray

  def shaped(self, *shape: int | None) -> np.ndarray:
    """The tensor as float32.

    Args:
      *shape: what its shape must be; None allows any size.

    Raises:
      UserError: it has another shape, or holds no floating-point numbers.
    """
    real = jnp.issubdtype(self.value.dtype, jnp.floating)
    name, dtype = f'{self.name}.dtype', str(self.value.dtype)
    require(real, name, dtype, 'must be a floating-point type')
    found = self.value.shape
    good = len(found) == len(shape) and all(
      want in (None, size) for size, want in zip(found, shape)
    )
    told = 'x'.join('any' if size is None else str(size) for size in shape)
    told = f'must be {told}, as the config has it'
    require(good, f'{self.name}.shape', found, told)
    return np.asarray(self.value, np.float32)


class Release:
  """Reads a config, and finds tensors by name.

  A key that is absent and a key that is null are the same, both leave the
  choice to the family's default, but where `null` is asked.

  Args:
    config: what the release's `config.json` holds.
    tensors: float arrays by the names of the release.
  """

  def __init__(
    self, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
  ):
    self.config = config
    self.tensors = tensors

  def get(self, name: str, default: Any = None) -> Any:
    """The value of a key, or `default` where there is none."""
    value = self.config.get(name)
    return default if value is None else value

  def key(self, name: str) -> str:
    """How errors name a key, such as `llama.hidden_size`."""
    return f'{self.config["model_type"]}.{name}'

  def size(self, name: str, default: int | None = None) -> int:
    """A positive int; without a default the key must be there."""
    value = self.get(name, default)
    good = type(value) is int and value > 0
    require(good, self.key(name), value, 'must be a positive int')
    return value

  def number(self, name: str, default: float | None = None) -> float:
    """A number above 0; without a default the key must be there."""
    value = self.get(name, default)
    check_number(self.key(name), value, above=0)
    return float(value)

  def null(self, name: str) -> bool:
    """Whether a key is there and null, where that is not to be absent."""
    return name in self.config and self.config[name] is None

  def flag(self, name: str, default: bool) -> bool:
    """A bool."""
    value = self.get(name, default)
    require(type(value) is bool, self.key(name), value, 'must be a bool')
    return value

  def activation(self, name: str, default: str) -> str:
    """An activation, in our words."""
    value = self.get(name, default)
    hint = f'is not known.{nearest(str(value), ACTIVATIONS)}'
    require(value in tuple(ACTIVATIONS), self.key(name), value, hint)
    return ACTIVATIONS[value]

  def only(self, name: str, *values: Any) -> None:
    """Raises `UserError` unless a key is absent, null or one of `values`."""
    value = self.get(name)
    told = ', '.join(repr(value) for value in values) or 'none'
    good = value is None or value in values
    require(good, self.key(name), value, f'is not supported, only {told}')

  def equal(self, left: str, right: str) -> bool:
    """Whether two tensors hold the same numbers."""
    return np.array_equal(self.tensors[left], self.tensors[right])

  def find(self, names: Iterable[str]) -> list[Tensor]:
    """Tensors by name.

    Raises:
      UserError: one of them is missing.
    """
    names = list(names)
    missing = [name for name in names if name not in self.tensors]
    if missing:
      raise UserError(
        f'{self.config["model_type"]}: {some(missing)} missing.'
        f'{nearest(missing[0], self.tensors)}'
      )
    return [Tensor(name, self.tensors[name]) for name in names]


def some(names: list[str]) -> str:
  """The first three of `names` and how many there are, in words."""
  shown = ', '.join(names[:3]) + (', ...' if len(names) > 3 else '')
  return f'{len(names)} tensor{"s"[: len(names) > 1]} ({shown})'
