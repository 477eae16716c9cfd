"""The way to seqio: imported late, quietly, and only to build.

Importing it takes seconds and prints much, so a run whose stores exist never
comes here.
"""

import contextlib
import dataclasses
import functools
import importlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from tpu_lm.checks import UserError, nearest
from tpu_lm.data.dependencies import module_file

VOCABULARIES = 'data_tasks.vocabulary'


def load_seqio() -> ModuleType:
  """Imports seqio.

  Raises:
    UserError: it is not installed.
  """
  first = 'tensorflow' not in sys.modules
  try:
    with _silent() if first else contextlib.nullcontext():
      import seqio
      import tensorflow as tf
  except ModuleNotFoundError as error:
    if error.name not in ('seqio', 'tensorflow'):
      raise
    raise UserError(
      f'{error.name} is not installed here, and token stores are built with'
      ' it. Install it, or copy the finished stores into Corpus.store_dir'
    ) from error
  if first:  # TensorFlow would take the accelerators' memory for itself
    tf.config.set_visible_devices([], 'GPU')
    tf.config.set_visible_devices([], 'TPU')
  return seqio


def vocabulary_adapter() -> ModuleType:
  """Imports the module that stands between our vocabularies and seqio's."""
  load_seqio()
  return importlib.import_module(VOCABULARIES)


def find_provider(
  name: str, modules: Sequence[str], others: Sequence[str] = ()
) -> tuple[Any, tuple[str, ...]]:
  """Finds a seqio Task or Mixture by name.

  Args:
    name: the task's or mixture's.
    modules: those that register tasks; they are imported.
    others: names of other kinds of data, for what an error suggests.

  Returns:
    The provider, and the one of `modules` that registered it. Where that
    can't be told, because somebody had imported it before, all of them.

  Raises:
    UserError: no module registers it, or one can't be imported.
  """
  if not modules and sys.modules.get('seqio') is None:
    raise _unknown(name, modules, others)  # without the seconds of an import
  for module in modules:  # likewise
    if module not in sys.modules and module_file(module) is None:
      raise UserError(f'Corpus.modules: there is no module {module!r}')
  seqio = load_seqio()
  origin = {}
  for module in modules:
    for added in _imported(module).names:
      origin[added] = (module,)
  names = {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()}
  if name not in names:
    raise _unknown(name, modules, names.union(others))
  return seqio.get_mixture_or_task(name), origin.get(name, tuple(modules))


def registered(name: str) -> Any | None:
  """The Task or Mixture of a name, if this process has registered one.

  It costs no import. A notebook registers tasks by hand and changes them, and
  no file tells.
  """
  seqio = sys.modules.get('seqio')
  for registry in (seqio.TaskRegistry, seqio.MixtureRegistry) if seqio else ():
    if name in registry.names():
      return registry.get(name)
  return None


def check_unedited(code: Iterable[str], modules: Iterable[str]) -> None:
  """Makes sure that what runs is what the files say.

  Args:
    code: names of modules that a store depends on.
    modules: those of them that register its task.

  Raises:
    UserError: a file is newer than what this process imported of it.
  """
  imported = max((_imported(module).time for module in modules), default=None)
  for module in code:
    path = module_file(module)
    if imported and path and Path(path).stat().st_mtime > imported:
      raise UserError(
        f'{path} was edited after it was imported. Start the process anew, so'
        ' that no store is built by the old code'
      )


def _unknown(
  name: str, modules: Sequence[str], names: Iterable[str]
) -> UserError:
  listed = ', '.join(modules) or 'none'
  return UserError(
    f'{name!r} is neither Files of the corpus nor a task or mixture that its'
    f' modules ({listed}) register.' + nearest(name, names)
  )


@dataclasses.dataclass(frozen=True)
class _Import:
  names: frozenset[str]
  time: float


@functools.cache
def _imported(module: str) -> _Import:
  """Imports a module; keeps what that added to the registries, and when."""
  seqio = load_seqio()
  registries = (seqio.TaskRegistry, seqio.MixtureRegistry)
  before = {name for registry in registries for name in registry.names()}
  start = time.time()
  try:
    importlib.import_module(module)
  except ModuleNotFoundError as error:
    if error.name is None or not f'{module}.'.startswith(f'{error.name}.'):
      raise
    raise UserError(f'Corpus.modules: there is no module {module!r}') from error
  after = {name for registry in registries for name in registry.names()}
  return _Import(frozenset(after - before), start)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
  """Drops what native code writes to standard error while it is loaded."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  sys.stderr.flush()
  kept = os.dup(2)
  with open(os.devnull, 'w') as nowhere:
    os.dup2(nowhere.fileno(), 2)
  try:
    yield
  finally:
    sys.stderr.flush()
    os.dup2(kept, 2)
    os.close(kept)
