"""What a store was built from, and whether that is still so.

A store keeps a `dependencies.json`, as a compiler keeps a depfile: enough to
tell, without seqio or TensorFlow and without running any registration code,
whether building it again would give the same. Files are compared by size and
modification time, as `make` does, because a corpus can be too big to be read
at every start; code and models are small and compared by their bytes.
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
from collections.abc import Iterable
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from tpu_lm.checks import UserError, read_fields
from tpu_lm.data.folder import Folder
from tpu_lm.data.sources import listing

FILE = 'dependencies.json'


@dataclasses.dataclass(frozen=True)
class Dependencies:
  """What a store was built from. All empty: nothing to compare.

  Attributes:
    definition: how the corpus defined it: 'vocabulary' (its description and
      hash), and either 'files' (the fields of Files) and 'format', or
      'modules' (those that register the task) and 'cache' (seqio's, if it
      was read).
    recipe: hash of vocabulary, preprocessors and source as seqio has them.
    packages: name of a distribution to its version.
    code: name of a module to the sha256 of its file.
    models: path of a vocabulary's file to its sha256.
    patterns: globs of the data files, paths or URLs.
    files: path to [size, modification time in ns or version] of what they
      matched.
  """

  definition: dict[str, Any] = dataclasses.field(default_factory=dict)
  recipe: str = ''
  packages: dict[str, str] = dataclasses.field(default_factory=dict)
  code: dict[str, str] = dataclasses.field(default_factory=dict)
  models: dict[str, str] = dataclasses.field(default_factory=dict)
  patterns: list[str] = dataclasses.field(default_factory=list)
  files: dict[str, list[int | str]] = dataclasses.field(default_factory=dict)

  @classmethod
  def read(cls, folder: Folder) -> 'Dependencies':
    """Reads `dependencies.json` of a finished store.

    Raises:
      UserError: it is missing or damaged.
    """
    try:
      [content] = folder.read([FILE])
      return read_fields(cls, json.loads(content))
    except (FileNotFoundError, RecursionError, TypeError, ValueError):
      raise UserError(
        f'{folder.url}/{FILE} is missing or damaged: delete the folder, and'
        ' it is built again'
      ) from None

  def hash(self) -> str:
    """Names the store: 16 hexadecimal digits of all of this."""
    text = json.dumps(dataclasses.asdict(self), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclasses.dataclass(frozen=True)
class Verdict:
  """Whether a store may be used, and what is to be said about it."""

  usable: bool
  note: str = ''


def examine(recorded: Dependencies) -> Verdict:
  """Compares what was recorded with what is here now.

  What this machine lacks can't be compared and is no reason to build anew: a
  store may be carried to a machine that has neither its data nor its code.

  Args:
    recorded: from the store.

  Returns:
    Not usable, with what changed; usable, with what could not be compared; or
    usable with no note.
  """
  change = _code_change(recorded) or _file_change(recorded)
  if change:
    return Verdict(False, change)
  missing = [name for name in recorded.code if module_file(name) is None]
  missing += [path for path in recorded.models if not Path(path).exists()]
  if recorded.files and not list_files(recorded.patterns):
    missing += recorded.patterns
  if not missing:
    return Verdict(True)
  more = f' and {len(missing) - 1} more' if len(missing) > 1 else ''
  return Verdict(
    True,
    f'not compared with what it was built from: {missing[0]}{more} is not on'
    ' this machine',
  )


def _code_change(recorded: Dependencies) -> str:
  for name, version in recorded.packages.items():
    now = package_version(name)
    if now not in (None, version):
      return f'{name} is {now}, was {version}'
  for name, digest in recorded.code.items():
    path = module_file(name)
    if path is not None and file_hash(path) != digest:
      return f'{path} has changed'
  for path, digest in recorded.models.items():
    if Path(path).exists() and file_hash(path) != digest:
      return f'{path} has changed'
  return ''


def _file_change(recorded: Dependencies) -> str:
  now = list_files(recorded.patterns)
  if not now:
    return ''
  for kind, paths in [
    ('is gone', recorded.files.keys() - now.keys()),
    ('is new', now.keys() - recorded.files.keys()),
    ('has changed', {p for p in now if now[p] != recorded.files.get(p)}),
  ]:
    if paths:
      more = f', and {len(paths) - 1} more' if len(paths) > 1 else ''
      return f'{min(paths)} {kind}{more}'
  return ''


def list_files(patterns: Iterable[str]) -> dict[str, list[int | str]]:
  """Lists the files that globs match, as far as they can be reached.

  Args:
    patterns: paths or URLs; `**` crosses folders.

  Returns:
    As `sources.listing.list_files`. Nothing of a storage that can't be asked
    from here, as when its package is not installed: its files are not on this
    machine.
  """
  files = {}
  for pattern in patterns:
    with contextlib.suppress(UserError, OSError):
      files |= listing.list_files([pattern])
  return files


def file_hash(path: str | Path) -> str:
  """The sha256 of a file's bytes."""
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def package_version(name: str) -> str | None:
  """The version of an installed distribution; None where there is none."""
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return None


def module_file(name: str) -> str | None:
  """The file of a module, found without running it or its parents."""
  top, *rest = name.split('.')
  try:
    spec = importlib.util.find_spec(top)
  except ValueError:  # a module that has no spec, such as __main__
    return None
  for part in rest:
    if spec is None:
      return None
    spec = PathFinder.find_spec(
      f'{spec.name}.{part}', spec.submodule_search_locations
    )
  return spec.origin if spec else None
