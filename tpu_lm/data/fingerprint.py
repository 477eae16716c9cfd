"""What a seqio task depends on: its dependencies, as seqio shows them.

Where data files come from, by kind of source:

* FileDataSource and its kin, and what seqio cached: their file patterns.
* TfdsDataSource: the files of the split.
* FunctionDataSource: the attribute `source_files` of the dataset function, a
  list of globs. Without it the files are unknown and only code is compared.
"""

import functools
import glob
import hashlib
import inspect
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from tpu_lm.data import dependencies as deps
from tpu_lm.data.registry import vocabulary_adapter


def dependencies_of(
  task: Any,
  definition: dict[str, Any],
  modules: Iterable[str],
  patterns: list[str],
) -> deps.Dependencies:
  """Collects what a store of a task's split depends on.

  Args:
    task: a seqio Task.
    definition: how the corpus named it; kept as it is.
    modules: names of the modules that register it.
    patterns: globs of the data files of the split.

  Returns:
    The dependencies as they are now.
  """
  vocabulary = task.output_features['targets'].vocabulary
  parts = [*_callables(task), type(task.source), type(vocabulary)]
  model = getattr(vocabulary, 'sentencepiece_model_file', None)
  return deps.Dependencies(
    definition=definition,
    recipe=recipe(task),
    **code_of({*modules, *map(module_of, parts)}, ('seqio',)),
    models={model: deps.file_hash(model)} if _is_local(model) else {},
    patterns=patterns,
    files=deps.list_files(patterns),
  )


def code_of(
  modules: Iterable[str], installed: Iterable[str] = ()
) -> dict[str, dict[str, str]]:
  """The code of modules and of those of their package that they import.

  Args:
    modules: their names.
    installed: names of distributions that matter besides.

  Returns:
    'packages': versions of installed packages; 'code': sha256 of the files
    of all other modules that have one.
  """
  code = {}
  packages = {name: deps.package_version(name) for name in installed}
  for module in _with_helpers(modules):
    path, package = deps.module_file(module), module.split('.')[0]
    if path is None or package in sys.stdlib_module_names:
      continue
    version = deps.package_version(package) if _is_installed(path) else None
    if version is None:
      code[module] = deps.file_hash(path)
    else:
      packages[package] = version
  return {'packages': packages, 'code': code}


def recipe(task: Any) -> str:
  """Hashes vocabulary, preprocessors and source, with what is bound to them."""
  identify = vocabulary_adapter().identify
  features = [
    (name, identify(feature.vocabulary)['hash'], feature.add_eos)
    for name, feature in sorted(task.output_features.items())
  ]
  return _hash(
    [
      features,
      _describe(task.source),
      [_describe(function) for function in _callables(task)],
    ]
  )


def patterns_of(source: Any, split: str) -> list[str]:
  """Globs of the files that a source reads a split from, as far as known."""
  if hasattr(source, 'tfds_dataset'):
    # A folder of TFDS may hold a hundred languages; a split has its own names.
    names = {re.sub(r'-\d+-of-\d+$', '', n) for n in source.list_shards(split)}
    return sorted(f'{glob.escape(name)}*' for name in names)
  if hasattr(source, '_split_to_filepattern'):
    found = source._split_to_filepattern[split]
    found = [found] if isinstance(found, str) else list(found)
  else:
    found = list(getattr(dataset_function(source), 'source_files', []))
  return sorted(
    pattern if '://' in pattern else str(Path(pattern).absolute())
    for pattern in map(str, found)
  )


def dataset_function(source: Any) -> Callable | None:
  """The function of a FunctionDataSource, out of any partial; else None."""
  function = getattr(source, '_dataset_fn', None)
  while isinstance(function, functools.partial):
    function = function.func
  return function


def _callables(task: Any) -> list[Any]:
  function = getattr(task.source, '_dataset_fn', None)
  return [*task.preprocessors, *([function] if function else [])]


def module_of(thing: Any) -> str:
  """The name of the module that defines a function or an object's class."""
  while isinstance(thing, functools.partial):
    thing = thing.func
  if not hasattr(thing, '__module__'):
    thing = type(thing)
  return thing.__module__ or 'builtins'


def _with_helpers(modules: Iterable[str]) -> list[str]:
  """Adds modules of the same package that these import, and theirs."""
  found, waiting = set(), list(modules)
  while waiting:
    name = waiting.pop()
    if name in found:
      continue
    found.add(name)
    path = deps.module_file(name)
    if name not in sys.modules or path is None or _is_installed(path):
      continue
    for value in vars(sys.modules[name]).values():
      if isinstance(value, ModuleType):
        other = value.__name__
      else:
        other = getattr(value, '__module__', None)
      if isinstance(other, str) and other.split('.')[0] == name.split('.')[0]:
        waiting.append(other)
  return sorted(found)


def _is_installed(path: str) -> bool:
  """Whether it belongs to a package, whose version says all."""
  roots = {sysconfig.get_path(key) for key in ('purelib', 'platlib')}
  return any(Path(path).is_relative_to(root) for root in roots)


def _is_local(path: Any) -> bool:
  return isinstance(path, str) and Path(path).exists()


def _describe(thing: Any) -> str:
  """Writes down a function with its code and whatever is bound to it."""
  if isinstance(thing, functools.partial):
    bound = [thing.func, thing.args, sorted(thing.keywords.items())]
    return ' '.join(_describe(part) for part in bound)
  if isinstance(thing, list | tuple):
    return f'[{", ".join(_describe(part) for part in thing)}]'
  if not inspect.isfunction(thing):
    # Addresses and the like differ from one process to the next.
    return re.sub(r' at 0x[0-9a-f]+', '', repr(thing))
  closure = [cell.cell_contents for cell in thing.__closure__ or ()]
  closure = [value for value in closure if value is not thing]
  bound = [thing.__defaults__, sorted((thing.__kwdefaults__ or {}).items())]
  described = [_describe(part) for part in [*bound, closure]]
  return f'{thing.__module__}.{thing.__qualname__} {_code(thing)} {described}'


def _code(function: Callable) -> str:
  try:
    return inspect.getsource(function)
  except OSError:  # typed into a shell
    return repr(function.__code__.co_code)


def _hash(facts: Any) -> str:
  return hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()
