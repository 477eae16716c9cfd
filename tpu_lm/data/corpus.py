"""All the data that a run can name, as stores that build themselves."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tpu_lm.checks import UserError, require
from tpu_lm.data.build import build_store
from tpu_lm.data.dependencies import Dependencies, Verdict, examine
from tpu_lm.data.fingerprint import code_of, recipe
from tpu_lm.data.progress import say
from tpu_lm.data.registry import (
  TEXT_FILES,
  check_unedited,
  find_provider,
  registered,
  text_files_task,
)
from tpu_lm.data.sources import TextFiles
from tpu_lm.data.store import (
  MANIFEST,
  PARTIAL,
  Manifest,
  TokenStore,
  store_directories,
)

RATES = 'rates.json'


@dataclasses.dataclass(frozen=True)
class Corpus:
  """Tasks, mixtures and text files, and where their stores are.

  Attributes:
    modules: names of Python modules that register seqio tasks and mixtures.
    text_files: data that need no module; they come before tasks of the same
      name.
    store_dir: where stores are kept, shared by any number of runs.
  """

  modules: tuple[str, ...] = ()
  text_files: tuple[TextFiles, ...] = ()
  store_dir: str = '~/.cache/tpu_lm/stores'

  def __post_init__(self):
    _check_all(self.modules, str, 'Corpus.modules', 'names of modules')
    _check_all(self.text_files, TextFiles, 'Corpus.text_files', 'TextFiles')
    names = [files.name for files in self.text_files]
    require(
      len(set(names)) == len(names),
      'Corpus.text_files',
      names,
      'must have different names',
    )
    require(
      isinstance(self.store_dir, str) and self.store_dir != '',
      'Corpus.store_dir',
      self.store_dir,
      'must be a path',
    )

  def open(self, task: str, split: str) -> TokenStore:
    """Opens the store of a task's split; builds it if there is none.

    A store of other data or other code than now is left alone and a new one
    is built, after a line that says what changed.

    Args:
      task: name of a task or of text files.
      split: 'train', 'validation' or another that the task has.

    Returns:
      The store.

    Raises:
      UserError: no such task or split, bad data, or the store must be built
        and seqio is not installed.
    """
    reason = ''
    for directory in self._stores(task, split):
      verdict = self._judge(task, Dependencies.read(directory))
      if verdict.usable:
        if verdict.note:
          say(f'{task}/{split}: {verdict.note}')
        return TokenStore(directory)
      reason = reason or verdict.note
    if reason:
      say(f'{task}/{split} is built anew: {reason}')
    files = self._files(task)
    if files:
      return build_store(
        self._folder(task),
        text_files_task(files),
        split,
        {'text_files': _fields(files)},
        (TEXT_FILES,),
      )
    provider, modules = find_provider(task, self.modules)
    if hasattr(provider, 'tasks'):
      raise UserError(f'{task} is a mixture: open its tasks')
    return build_store(
      self._folder(task), provider, split, {'modules': [*modules]}, modules
    )

  def expand(self, name: str) -> dict[str, float]:
    """The tasks that a name stands for, and their rates.

    Args:
      name: of a task, of text files or of a seqio mixture.

    Returns:
      Task to rate; a task stands for itself, at rate 1.

    Raises:
      UserError: no such task or mixture.
    """
    if self._files(name):
      return {name: 1.0}
    rates = None if registered(name) else self._remembered(name)
    if rates is None:
      provider, modules = find_provider(name, self.modules)
      tasks = getattr(provider, 'tasks', [])
      rates = {task.name: provider.get_rate(task) for task in tasks}
      rates = rates or {name: 1.0}
      self._remember(name, rates, modules)
    return rates

  def _remembered(self, name: str) -> dict[str, float] | None:
    path = self._folder(name) / RATES
    if path.exists():
      record = json.loads(path.read_text())
      verdict = self._judge(name, Dependencies(**record['dependencies']))
      return record['rates'] if verdict.usable else None
    if any(self._folder(name).glob(f'*/{MANIFEST}')):
      return {name: 1.0}  # only tasks have stores
    return None

  def _remember(
    self, name: str, rates: Mapping[str, float], modules: tuple[str, ...]
  ) -> None:
    dependencies = Dependencies(
      definition={'modules': [*modules]}, **code_of(modules)
    )
    check_unedited(dependencies.code, modules)
    record = {
      'rates': rates,
      'dependencies': dataclasses.asdict(dependencies),
    }
    path = self._folder(name) / RATES
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix('.partial')
    partial.write_text(json.dumps(record, indent=1) + '\n')
    partial.replace(path)

  def _folder(self, task: str) -> Path:
    return Path(self.store_dir).expanduser() / task

  def _files(self, name: str) -> TextFiles | None:
    return next((f for f in self.text_files if f.name == name), None)

  def _stores(self, task: str, split: str) -> Iterator[Path]:
    """Directories of readable stores, the newest first."""
    found = store_directories(self._folder(task), split)
    whole = [path for path in found if path.suffix != PARTIAL]
    for path in sorted(whole, key=_age):
      if Manifest.read(path) is not None:
        yield path

  def _judge(self, task: str, recorded: Dependencies) -> Verdict:
    if not recorded.definition:  # written by hand, from nothing
      return Verdict(True)
    files = self._files(task)
    if files:
      was, now = recorded.definition.get('text_files', {}), _fields(files)
      changed = [key for key in now if was.get(key) != now[key]]
      if changed and (files.paths('train') or files.paths('validation')):
        return Verdict(False, f'TextFiles.{changed[0]} has changed')
    elif 'modules' not in recorded.definition:
      return Verdict(False, 'it was of text files that the corpus has not')
    elif missing := {*recorded.definition['modules']} - {*self.modules}:
      return Verdict(False, f'Corpus.modules has no {min(missing)}')
    live = registered(task)
    if live and recorded.recipe and recorded.recipe != recipe(live):
      return Verdict(False, 'the task was registered anew, otherwise')
    return examine(recorded)


def _age(directory: Path) -> int:
  return -(directory / MANIFEST).stat().st_mtime_ns


def _fields(files: TextFiles) -> dict[str, Any]:
  return dataclasses.asdict(files.absolute())


def _check_all(values: Any, kind: type, key: str, expected: str) -> None:
  require(
    isinstance(values, tuple | list)
    and all(isinstance(value, kind) for value in values),
    key,
    values,
    f'must be a tuple of {expected}',
  )
