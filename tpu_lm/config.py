"""From gin files to a `Run`: the only file that imports gin.

gin binds the real constructors; this adds what it lacks: errors of one line
with file, line and the nearest names, a check that macros exist, and a word
about bindings that nothing uses. It reads gin's private registry, hence the
pinned version.
"""

import dataclasses
import importlib
import importlib.util  # gin needs it and does not import it
import inspect
import pathlib
import pkgutil
import re
from collections.abc import Sequence

import gin
from gin import config as gin_config

from tpu_lm.checks import UserError, nearest
from tpu_lm.phase import Run

PARSE_ERRORS = (
  AttributeError,
  ImportError,
  NameError,
  OSError,
  SyntaxError,
  TypeError,
  ValueError,
)


@dataclasses.dataclass(frozen=True)
class Config:
  """A configured run.

  Attributes:
    run: the run.
    operative: gin text of every value in force, defaults included; parsing
      it gives the same run.
    unused: bindings that nothing used, one line each.
  """

  run: Run
  operative: str
  unused: tuple[str, ...]


def load(files: Sequence[str], bindings: Sequence[str] = ()) -> Config:
  """Reads gin files, then single bindings that override them.

  Args:
    files: paths; the includes in them are looked for from the working folder,
      from each file's own folder, and from the folder above this package.
    bindings: as in a file, such as 'Run.seed = 1' or 'BATCH = 4'; a name need
      only be as long as makes it unique.

  Raises:
    UserError: whatever is wrong, in one line.
  """
  gin.clear_config()
  texts = {}
  for name in files:
    path = pathlib.Path(name)
    if not path.is_file():
      raise UserError(f'--gin_file={name}: no such file')
    texts[name] = path.read_text(encoding='utf-8')
    gin.add_config_file_search_path(str(path.parent))
  gin.add_config_file_search_path(str(pathlib.Path(__file__).parents[1]))
  try:
    with gin.unlock_config():
      for name in files:
        gin.parse_config_file(name)
      for binding in bindings:
        gin.parse_config(_full_name(binding))
  except PARSE_ERRORS as error:
    raise UserError(_one_line(error)) from error
  _check_macros(texts)
  try:
    run = gin.get_configurable('phase.Run')()
  except UserError as error:
    raise UserError(_with_scope(error)) from error
  except (TypeError, ValueError) as error:
    if 'configurable' not in str(error):
      raise
    raise UserError(_with_scope(error)) from error
  unused = _unused()
  for binding in bindings:
    name = _full_name(binding).split('=')[0].strip()
    if name in unused:
      raise UserError(f'--gin.{binding}: nothing uses it')
  operative = gin.operative_config_str()
  gin.clear_config()
  return Config(run, operative, tuple(unused))


def _full_name(binding: str) -> str:
  """'Run.seed=1' -> 'phase.Run.seed=1', if one configurable ends so."""
  name, equals, value = binding.partition('=')
  scope, slash, rest = name.strip().rpartition('/')
  selector, dot, parameter = rest.rpartition('.')
  if not equals:
    raise UserError(f'--gin.{binding}: must be --gin.NAME=VALUE')
  if dot:
    known = list(gin_config._REGISTRY._selector_map)
    found = [k for k in known if f'.{k}'.endswith(f'.{selector}')]
    if len(found) != 1:
      short = {k.rpartition('.')[2] for k in known}
      hint = f'is one of {found}' if found else nearest(selector, short)
      raise UserError(f'--gin.{binding}: no configurable {selector!r}. {hint}')
    selector = found[0]
  return f'{scope}{slash}{selector}{dot}{parameter} = {value}'


def _one_line(error: Exception) -> str:
  """gin's message as 'file:line: what. Did you mean ...?'."""
  text = str(error)
  place = re.search(r'In file "(.*)", line (\d+)', text)
  if isinstance(error, SyntaxError):
    where = f'{error.filename}:{error.lineno}: '
    text = error.msg
  elif place:
    where = f'{place[1]}:{place[2]}: '
  elif 'bindings string' in text or not text:
    where = '--gin: '
  else:
    where = ''
  return f'{where}{text.splitlines()[0].strip()}{_suggestion(text)}'


def _suggestion(text: str) -> str:
  """The names nearest to the one that gin did not know."""
  if found := re.search(
    r"'([\w.]+)' doesn't have a parameter named '(\w+)'", text
  ):
    target = gin.get_configurable(found[1])
    return nearest(found[2], inspect.signature(target).parameters)
  if found := re.search(r"<module '([\w.]+)'.*has no attribute '?(\w+)", text):
    module = importlib.import_module(found[1])
    return nearest(found[2], _public_names(module))
  if found := re.search(r"No module named '([\w.]+)'", text):
    package, _, name = found[1].rpartition('.')
    try:
      module = importlib.import_module(package) if package else None
    except ImportError:
      module = None
    paths = getattr(module, '__path__', None) if package else None
    return nearest(name, [m.name for m in pkgutil.iter_modules(paths)])
  if found := re.search(r"cannot import name '(\w+)' from '([\w.]+)'", text):
    module = importlib.import_module(found[2])
    names = [m.name for m in pkgutil.iter_modules(module.__path__)]
    return nearest(found[1], names)
  return ''


def _public_names(module) -> list[str]:
  return [name for name in dir(module) if not name.startswith('_')]


def _check_macros(texts: dict[str, str]) -> None:
  """Every %NAME must be bound; gin finds out only when it is used."""
  macros = {scope for scope, name in gin_config._CONFIG if name == 'gin.macro'}
  for file, text in texts.items():
    for number, line in enumerate(text.split('\n'), 1):
      for name in re.findall(r'%([\w.]+)', line.partition('#')[0]):
        if name not in macros:
          raise UserError(
            f'{file}:{number}: no value for the macro {name}.'
            f'{nearest(name, macros)}'
          )


def _with_scope(error: Exception) -> str:
  """The first line of a constructor's error, and where it was called."""
  text = str(error)
  scope = re.search(
    r"In call to configurable '([\w.]+)'.* in scope '(.*)'", text
  )
  where = f' (in {scope[2]}/{scope[1]})' if scope else ''
  return f'{text.splitlines()[0].strip()}{where}'


def _unused() -> list[str]:
  """Bindings without effect: of no object that was made, or overridden."""
  used = gin_config._OPERATIVE_CONFIG
  names = []
  for (scope, selector), values in gin_config._CONFIG.items():
    for parameter in values:
      serves = any(
        name == selector
        and f'/{at}/'.endswith(f'/{scope}/' if scope else '/')
        and parameter in params
        for (at, name), params in used.items()
      )
      if not serves:
        macro = selector == 'gin.macro'
        prefix = f'{scope}/' if scope else ''
        names.append(scope if macro else f'{prefix}{selector}.{parameter}')
  return names
