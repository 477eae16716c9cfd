"""From gin files to a `Run`: the only file that imports gin.

gin binds the real constructors; this adds what it lacks: errors of one line
with file, line and the nearest names, a check that macros exist, and a word
about bindings that nothing uses. It reads gin's private registry, hence the
pinned version.
"""

import dataclasses
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import gin
from gin import config as gin_config

from tpu_lm.checks import UserError, nearest
from tpu_lm.config_errors import NOT_READ, in_one_line, short, with_scope
from tpu_lm.data.corpus import Corpus
from tpu_lm.phase import Run


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
  _read(files, bindings)
  run = _make('phase.Run', files)
  unused = _unused()
  for binding in bindings:
    name = binding.partition('=')[0].strip()
    if short(name) in map(short, unused):
      raise UserError(f'--gin.{binding}: nothing uses it')
  return Config(run, gin.operative_config_str(), tuple(unused))


def load_corpus(
  files: Sequence[str], bindings: Sequence[str] = ()
) -> tuple[Corpus, Run | None]:
  """Reads the corpus of gin files; the run, too, where they configure one.

  Takes and raises what `load` does. A fragment of data alone will do.
  """
  _read(files, bindings)
  bound = [
    name for (_, name), at in gin_config._CONFIG.items() if 'phases' in at
  ]
  if any(name.endswith('phase.Run') for name in bound):
    run = _make('phase.Run', files)
    return run.corpus, run
  return _make('corpus.Corpus', files), None


def _read(files: Sequence[str], bindings: Sequence[str]) -> None:
  """Parses files and bindings into gin's registry."""
  gin.clear_config()
  # gin would look for files among Python packages, too, and trip over some;
  # and where earlier calls had told it to look.
  gin_config._FILE_READERS[1:] = []
  gin_config._LOCATION_PREFIXES[1:] = []
  texts = {}
  for name in files:
    path = pathlib.Path(name)
    if not path.is_file():
      raise UserError(f'--gin_file={name}: no such file')
    try:
      texts[name] = path.read_text(encoding='utf-8')
    except UnicodeDecodeError as error:
      raise UserError(f'--gin_file={name}: not UTF-8: {error}') from None
    gin.add_config_file_search_path(str(path.parent))
  gin.add_config_file_search_path(str(pathlib.Path(__file__).parents[1]))
  for name in files:
    _parse(lambda name=name: gin.parse_config_file(name), f'{name}: ')
  for binding in bindings:
    if '=' not in binding:
      raise UserError(f'--gin.{binding}: must be --gin.NAME=VALUE')
    _parse(lambda text=binding: gin.parse_config(text), f'--gin.{binding}: ')
  _check_macros(texts)


def _make(name: str, files: Sequence[str]) -> Any:
  """Calls what the files configure under a name."""
  if not gin_config._REGISTRY.matching_selectors(name):
    raise UserError(f'{", ".join(files)}: configures no {name}')
  try:
    return gin.get_configurable(name)()
  except RecursionError:
    told = 'refers to itself, perhaps by way of others'
    raise UserError(f'{", ".join(files)}: a binding {told}') from None
  except (TypeError, ValueError) as error:
    if not isinstance(error, UserError) and 'configurable' not in str(error):
      raise
    raise UserError(with_scope(error)) from error


def _parse(parse: Callable[[], object], where: str) -> None:
  """Parses; an error becomes 'file:line: what. Did you mean ...?'."""
  try:
    parse()
  except NOT_READ as error:
    told = in_one_line(error, where, gin_config._REGISTRY)
    raise UserError(told) from error


def _check_macros(texts: dict[str, str]) -> None:
  """Every %NAME must be bound; gin finds out only when it is used."""
  macros = {scope for scope, name in gin_config._CONFIG if name == 'gin.macro'}
  for file, text in texts.items():
    for number, line in enumerate(text.split('\n'), 1):
      line = re.sub(r"""'[^']*'|"[^"]*"|#.*""", '', line)
      for name in re.findall(r'%([\w.]+)', line):
        if name not in macros:
          raise UserError(
            f'{file}:{number}: no value for the macro {name}.'
            f'{nearest(name, macros)}'
          )


def _unused() -> list[str]:
  """Bindings without effect: of no object that was made, or overridden."""
  used = gin_config._OPERATIVE_CONFIG
  names = []
  for (scope, selector), values in gin_config._CONFIG.items():
    for parameter in values:
      serves = any(
        name == selector
        and f'{at}/'.startswith(f'{scope}/' if scope else '')
        and parameter in params
        for (at, name), params in used.items()
      )
      if not serves:
        macro = selector == 'gin.macro'
        prefix = f'{scope}/' if scope else ''
        names.append(scope if macro else f'{prefix}{selector}.{parameter}')
  return names
