"""Whether a store is of what the corpus defines now.

Definitions are compared here, data and code by `dependencies.examine`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tpu_lm.checks import UserError
from tpu_lm.data.dependencies import Dependencies, Verdict, list_files
from tpu_lm.data.sources.files import Files

_OTHERWISE = 'this version of tpu_lm makes documents otherwise'


def judge_files(
  recorded: Dependencies, now: Mapping[str, Any], files: Files, split: str
) -> Verdict | None:
  """Compares the definition of files with that of a store.

  A store may have been carried here without its files; then only the
  vocabulary matters. If some are here, the old or the new, it was not.

  Args:
    recorded: from the store.
    now: the definition now, see `FilesRecipe.definition`.
    files: as the corpus has them now.
    split: of the store.

  Returns:
    What has changed, or None.
  """
  was = recorded.definition
  if 'files' not in was:
    return Verdict(False, 'it was of a task, and files have the name now')
  if verdict := _judge_vocabulary(was, now):
    return verdict
  changed = [
    f'Files.{key} has changed'
    for key in now['files']
    if was['files'].get(key) != now['files'][key]
  ]
  if was['format'] != now['format']:
    changed.append(_OTHERWISE)
  if changed and (list_files(recorded.patterns) or _any_here(files, split)):
    return Verdict(False, changed[0])
  return None


def _any_here(files: Files, split: str) -> bool:
  try:
    return bool(list_files(files.patterns(split)))
  except (UserError, OSError):  # on a storage that can't be asked from here
    return False


def judge_task(
  recorded: Dependencies, now: Mapping[str, Any], modules: Iterable[str]
) -> Verdict | None:
  """Compares the definition of a seqio task with that of a store.

  Args:
    recorded: from the store.
    now: the definition now, see `SeqioRecipe.definition`; empty for a
      mixture, which has nothing but modules.
    modules: those of the corpus.

  Returns:
    What has changed, or None.
  """
  was = recorded.definition
  if 'modules' not in was:
    return Verdict(False, 'it was of files that the corpus has not')
  if missing := {*was['modules']} - {*modules}:
    return Verdict(False, f'Corpus.modules has no {min(missing)}')
  if not now:
    return None
  if verdict := _judge_vocabulary(was, now):
    return verdict
  if was['format'] != now['format']:
    return Verdict(False, _OTHERWISE)
  if now['cache'] not in ('', was['cache']):
    return Verdict(False, f'seqio has it cached at {now["cache"]} now')
  return None


def _judge_vocabulary(
  was: Mapping[str, Any], now: Mapping[str, Any]
) -> Verdict | None:
  old, new = was['vocabulary'], now['vocabulary']
  if old.get('hash') == new.get('hash'):
    return None
  names = [one.get('description', "the task's own") for one in (new, old)]
  return Verdict(False, f'the vocabulary is {names[0]}, was {names[1]}')
