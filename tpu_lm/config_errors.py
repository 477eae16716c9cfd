"""How mistakes in gin files are told: the words, without gin itself."""

import importlib
import importlib.util
import inspect
import pkgutil
import re
from typing import Any

from tpu_lm.checks import nearest


def suggestion(text: str, registry: Any) -> str:
  """Names the nearest to the one that gin did not know.

  Args:
    text: of gin's error.
    registry: gin's, of configurables by selector.
  """
  if found := re.search(
    r"'([\w.]+)' doesn't have a parameter named '(\w+)'", text
  ):
    target = registry.get_match(found[1]).wrapped
    return nearest(found[2], inspect.signature(target).parameters)
  if found := re.search(r"No configurable matching '([\w.]+)'", text):
    known = registry._selector_map
    return nearest(found[1], {name.rpartition('.')[2] for name in known})
  if found := re.search(r"<module '([\w.]+)'.*has no attribute '?(\w+)", text):
    names = dir(importlib.import_module(found[1]))
    return nearest(found[2], [n for n in names if not n.startswith('_')])
  if found := re.search(r"No module named '([\w.]+)'", text):
    package, _, name = found[1].rpartition('.')
    return nearest(name, _modules(package))
  if found := re.search(r"cannot import name '(\w+)' from '([\w.]+)'", text):
    return nearest(found[1], _modules(found[2]))
  return ''


def _modules(package: str) -> list[str]:
  """Names of the modules in a package; of the top level if it is ''."""
  if not package:
    return [module.name for module in pkgutil.iter_modules()]
  spec = importlib.util.find_spec(package.partition('.')[0])
  if spec is None:
    return []
  paths = getattr(importlib.import_module(package), '__path__', None)
  return [module.name for module in pkgutil.iter_modules(paths or [])]


def with_scope(error: Exception) -> str:
  """The first line of a constructor's error, and where it was called."""
  text = str(error)
  scope = re.search(
    r"In call to configurable '([\w.]+)'.* in scope '(.*)'", text
  )
  where = f' (in {scope[2]}/{scope[1]})' if scope else ''
  return f'{text.splitlines()[0].strip()}{where}'


def short(name: str) -> str:
  """'scope/phase.Run.seed' -> 'scope/Run.seed': as short as a person writes."""
  scope, slash, rest = name.rpartition('/')
  return f'{scope}{slash}{".".join(rest.split(".")[-2:])}'
