"""All the data that a run can name, as stores that build themselves."""

import dataclasses
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tpu_lm.checks import UserError, check_all, read_fields, require
from tpu_lm.data.build import build_store
from tpu_lm.data.contamination import Contamination
from tpu_lm.data.dependencies import Dependencies, Verdict, examine
from tpu_lm.data.fingerprint import code_of
from tpu_lm.data.fingerprint import recipe as recipe_hash
from tpu_lm.data.freshness import judge_files, judge_task
from tpu_lm.data.progress import say
from tpu_lm.data.recipe import FilesRecipe, Recipe
from tpu_lm.data.registry import check_unedited, find_provider, registered
from tpu_lm.data.seqio_recipe import SeqioRecipe, with_vocabulary
from tpu_lm.data.sources.files import Files, check_files
from tpu_lm.data.special_tokens import Special, SpecialTokens
from tpu_lm.data.storage import open_folder
from tpu_lm.data.store import MANIFEST, TokenStore, find_stores
from tpu_lm.data.vocabularies import Vocabulary
from tpu_lm.data.vocabularies.bytes import Bytes

RATES = 'rates.json'


@dataclasses.dataclass(frozen=True)
class Corpus:
  """Tasks, mixtures and files, and where their stores are.

  Attributes:
    modules: names of Python modules that register seqio tasks and mixtures.
    files: data that need no module; they come before tasks of the same name.
    store_dir: where stores are kept, shared by any number of runs: a folder,
      or a URL such as gs://bucket/stores.
    vocabulary: encodes everything. None: files are read as bytes, and a task
      has the vocabulary that it was registered with.
    seqio_cache_dirs: folders or URLs where seqio cached tasks; those are read
      from there, unless `vocabulary` is given.
    contamination: evaluation sets that are looked for while a store is built.
      A store that is there already is not built again for it.
    special: the numbers of sentinels, masks and modes, above the vocabulary.
  """

  modules: tuple[str, ...] = ()
  files: tuple[Files, ...] = ()
  store_dir: str = '~/.cache/tpu_lm/stores'
  vocabulary: Vocabulary | None = None
  seqio_cache_dirs: tuple[str, ...] = ()
  contamination: Contamination | None = None
  special: SpecialTokens = SpecialTokens()

  def __post_init__(self):
    check_all('Corpus.modules', self.modules, str, 'names of modules')
    good = all(re.fullmatch(r'\w+(\.\w+)*', name) for name in self.modules)
    must = "must be names as in 'data_tasks.texts'"
    require(good, 'Corpus.modules', self.modules, must)
    check_files('Corpus.files', self.files)
    dirs = self.seqio_cache_dirs
    check_all('Corpus.seqio_cache_dirs', dirs, str, 'folders')
    for name in ('modules', 'files', 'seqio_cache_dirs'):
      object.__setattr__(self, name, tuple(getattr(self, name)))
    require(
      isinstance(self.store_dir, str) and self.store_dir != '',
      'Corpus.store_dir',
      self.store_dir,
      'must be a path or a URL',
    )
    require(
      self.vocabulary is None or hasattr(self.vocabulary, 'describe'),
      'Corpus.vocabulary',
      self.vocabulary,
      'must be a vocabulary, such as @sentence_piece.SentencePiece()',
    )
    require(
      isinstance(self.contamination, Contamination | None),
      'Corpus.contamination',
      self.contamination,
      'must be a Contamination',
    )
    require(
      isinstance(self.special, SpecialTokens),
      'Corpus.special',
      self.special,
      'must be @special_tokens.SpecialTokens()',
    )

  def open(
    self, task: str, split: str, build: Callable = build_store
  ) -> TokenStore:
    """Opens the store of a task's split; builds it if there is none.

    A store of other data or other code than now is left alone and a new one
    is built, after a line that says what changed.

    Args:
      task: name of a task or of files.
      split: 'train', 'validation' or another that the task has.
      build: builds a missing store, as `build_store` does.

    Returns:
      The store.

    Raises:
      UserError: no such task or split, bad data, or the store must be built
        and seqio is not installed.
    """
    reason = ''
    for directory in self._stores(task, split):
      recorded = Dependencies.read(open_folder(directory))
      verdict = self._judge(task, split, recorded)
      if verdict.usable:
        if verdict.note:
          say(f'{task}/{split}: {verdict.note}')
        return TokenStore(directory)
      reason = reason or verdict.note
    if reason:
      say(f'{task}/{split} is built anew: {reason}')
    return build(
      self.recipe(task, split),
      self.folder(task),
      contamination=self.contamination,
    )

  def recipe(self, task: str, split: str) -> Recipe:
    """What the store of a task's split is made of; nothing is looked up."""
    files = self._files(task)
    if files:
      return FilesRecipe(files.absolute(), split, self._files_vocabulary())
    caches = tuple(map(os.path.expanduser, self.seqio_cache_dirs))
    return SeqioRecipe(task, split, self.modules, self.vocabulary, caches)

  def special_tokens(self, store: TokenStore) -> Special:
    """The special tokens of a store, and its vocabulary where it is known.

    Raises:
      UserError: as `SpecialTokens.of`.
    """
    vocabulary = self.vocabulary
    if store.manifest.vocabulary.get('hash') == Bytes().describe()['hash']:
      vocabulary = Bytes()  # a task's own would import TensorFlow
    if vocabulary is not None:
      return self.special.of(
        store, vocabulary.decode, vocabulary.encode, vocabulary.end
      )
    recipe = self.recipe(store.manifest.task, store.manifest.split)
    return self.special.of(store, recipe.decode)

  def folder(self, task: str) -> str:
    """Where the stores of a task are: a path or a URL."""
    if '://' in self.store_dir:
      return f'{self.store_dir.rstrip("/")}/{task}'
    return str(Path(self.store_dir).expanduser() / task)

  def expand(self, name: str) -> dict[str, float]:
    """The tasks that a name stands for, and their rates.

    Args:
      name: of a task, of files or of a seqio mixture.

    Returns:
      Task to rate; a task stands for itself, at rate 1.

    Raises:
      UserError: no such task or mixture.
    """
    if self._files(name):
      return {name: 1.0}
    rates = None if registered(name) else self._remembered(name)
    if rates is None:
      files = [files.name for files in self.files]
      provider, modules = find_provider(name, self.modules, files)
      tasks = getattr(provider, 'tasks', [])
      rates = {task.name: provider.get_rate(task) for task in tasks}
      rates = rates or {name: 1.0}
      self._remember(name, rates, modules)
    return rates

  def _remembered(self, name: str) -> dict[str, float] | None:
    folder = open_folder(self.folder(name))
    try:
      [content] = folder.read([RATES])
    except FileNotFoundError:
      if any(file.endswith(f'/{MANIFEST}') for file in folder.sizes()):
        return {name: 1.0}  # only tasks have stores
      return None
    try:
      record = read_fields(_Rates, json.loads(content))
      recorded = read_fields(Dependencies, record.dependencies)
    except (RecursionError, TypeError, ValueError):
      raise UserError(
        f'{folder.url}/{RATES} is damaged: delete it, and it is made again'
      ) from None
    verdict = judge_task(recorded, {}, self.modules) or examine(recorded)
    return record.rates if verdict.usable else None

  def _remember(
    self, name: str, rates: Mapping[str, float], modules: tuple[str, ...]
  ) -> None:
    dependencies = Dependencies(
      definition={'modules': [*modules]}, **code_of(modules, ('seqio',))
    )
    check_unedited(dependencies.code, modules)
    record = {
      'rates': rates,
      'dependencies': dataclasses.asdict(dependencies),
    }
    content = json.dumps(record, indent=1) + '\n'
    open_folder(self.folder(name)).write(RATES, content.encode())

  def _files(self, name: str) -> Files | None:
    return next((f for f in self.files if f.name == name), None)

  def _files_vocabulary(self) -> Vocabulary:
    return Bytes() if self.vocabulary is None else self.vocabulary

  def _stores(self, task: str, split: str) -> list[str]:
    """Directories of readable stores, the newest first where that is known."""
    return sorted(find_stores(self.folder(task), split), key=_age)

  def _judge(self, task: str, split: str, recorded: Dependencies) -> Verdict:
    if not recorded.definition:  # written by hand, from nothing
      return Verdict(True)
    recipe = self.recipe(task, split)
    now = recipe.definition()
    if isinstance(recipe, FilesRecipe):
      verdict = judge_files(recorded, now, recipe.files, split)
      return verdict or examine(recorded)
    verdict = judge_task(recorded, now, self.modules)
    live = registered(task)
    if verdict is None and live and recorded.recipe:
      live = with_vocabulary(live, self.vocabulary)
      if recorded.recipe != recipe_hash(live):
        return Verdict(False, 'the task was registered anew, otherwise')
    return verdict or examine(recorded)


@dataclasses.dataclass(frozen=True)
class _Rates:
  """What is remembered of a mixture: its tasks, and what said so."""

  rates: dict[str, float]
  dependencies: dict[str, Any]


def _age(directory: str) -> int:
  if '://' in directory:
    return 0
  return -(Path(directory) / MANIFEST).stat().st_mtime_ns
