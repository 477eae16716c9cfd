"""How mistakes in gin files are told: the words, without gin itself."""

import importlib
import importlib.util
import inspect
import pkgutil
import re
import tokenize
from typing import Any

from tpu_lm.checks import nearest

# What gin raises for names it doesn't know, and for text it can't read.
NOT_FOUND = (AttributeError, ImportError, NameError, OSError)
MALFORMED = (SyntaxError, TypeError, ValueError, tokenize.TokenError)
TOO_DEEP = (MemoryError, RecursionError)  # of nested brackets
NOT_READ = (*NOT_FOUND, *MALFORMED, *TOO_DEEP)


def in_one_line(error: Exception, where: str, registry: Any) -> str:
  """'file:line: what. Did you mean ...?'

  Args:
    error: one of `NOT_READ`.
    where: the file or binding, where the error does not say.
    registry: gin's, of configurables by selector.
  """
  text = str(error) or type(error).__name__
  if place := re.search(r'In file "(.*)", line (\d+)', text):
    where = f'{place[1]}:{place[2]}: '
  elif isinstance(error, SyntaxError) and error.filename:
    where = f'{error.filename}:{error.lineno}: '
  what = text.splitlines()[0]
  if isinstance(error, SyntaxError):
    what = str(error.msg)
  elif isinstance(error, tokenize.TokenError):
    what = f'{error.args[0]}, up to line {error.args[1][0]}'
  elif isinstance(error, TOO_DEEP):
    what = 'too deeply nested'
  what = re.sub(r" from '[^']*'>", '>', what.splitlines()[0].strip())
  line = text.splitlines()[-1].strip()
  if line.startswith('include ') and 'Unable to open' in what:
    what = f'{line}: no such file'
  elif what.startswith('malformed node'):
    what = f'{line}: not a value; strings take quotes'
  return f'{where}{what}{suggestion(text, registry)}'


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
  if scope and scope[1] == 'macro':
    return f'no value for the macro {scope[2]}'
  where = f' (in {scope[2]}/{scope[1]})' if scope else ''
  return f'{text.splitlines()[0].strip()}{where}'


def short(name: str) -> str:
  """'scope/phase.Run.seed' -> 'scope/Run.seed': as short as a person writes."""
  scope, slash, rest = name.rpartition('/')
  return f'{scope}{slash}{".".join(rest.split(".")[-2:])}'
