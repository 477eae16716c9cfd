"""Three corpora that are on every machine already, for a first run.

* prose: the docstrings of the packages below and of the standard library.
* python: their sources without the docstrings.
* headers: C and C++ headers shipped inside the packages.

The packages are named, not "whatever is installed", so that machines with the
same versions get the same tokens and installing one more changes nothing. One
file is one document. Left out are tests (repetitive, sometimes broken on
purpose), giant files (generated) and exact duplicates.
"""

import functools
import hashlib
import importlib.metadata
import os
import sysconfig
from collections.abc import Callable
from pathlib import Path, PurePath

import seqio

from data_tasks.docstrings import docstrings, without_docstrings
from data_tasks.texts import FEATURES, PREPROCESSORS, text_source

DISTRIBUTIONS = (
  'absl-py',
  'flax',
  'gin-config',
  'jax',
  'jaxlib',
  'keras',
  'matplotlib',
  'numpy',
  'optax',
  'orbax-checkpoint',
  'rich',
  'scipy',
  'seqio',
  'tensorflow',
  'tensorflow-datasets',
)
PYTHON = ('.py',)
HEADERS = ('.h', '.hh', '.hpp', '.inc')
KINDS: dict[str, tuple[tuple[str, ...], Callable[[str], str]]] = {
  'prose': (PYTHON, docstrings),
  'python': (PYTHON, without_docstrings),
  'headers': (HEADERS, str),
}
LEFT_OUT = {'test', 'tests', 'testing', 'idle_test'}
NOT_STANDARD = {'site-packages', 'dist-packages'} | LEFT_OUT
MOST_BYTES = {'train': 5_000_000, 'validation': 250_000}
MOST_BYTES_OF_A_FILE = 200_000
VALIDATION_PERCENT = 5


@functools.cache
def texts(name: str, split: str) -> tuple[str, ...]:
  """Reads the documents of a corpus, up to the most bytes of its split.

  Args:
    name: 'prose', 'python' or 'headers'.
    split: 'train' or 'validation'; a file is in one of them only, by a hash
      of its path.

  Returns:
    The texts, in the order of a hash of their paths, so that packages mix.
  """
  suffixes, extract = KINDS[name]
  found: dict[str, None] = {}  # a set that keeps its order
  room = MOST_BYTES[split]
  for path in _files(suffixes, split):
    try:
      text = extract(path.read_text(encoding='utf-8'))
    except (UnicodeDecodeError, SyntaxError, FileNotFoundError):
      continue  # another encoding, Python 2, gone though it is listed
    size = len(text.encode())
    if text.strip() and size <= MOST_BYTES_OF_A_FILE and text not in found:
      room -= size
      if room < 0:
        break
      found[text] = None
  return tuple(found)


def describe(name: str, split: str) -> tuple[int, int]:
  """Counts the files and the bytes of a corpus' split."""
  documents = texts(name, split)
  return len(documents), sum(len(text.encode()) for text in documents)


def source_files() -> list[str]:
  """Files that change when the corpora do.

  An installer rewrites a package's RECORD with any of its files, and thirty
  of them are looked at in no time where all sources would take seconds.
  """
  names = [name.replace('-', '_') for name in DISTRIBUTIONS]
  site_packages = sysconfig.get_path('purelib')
  records = [f'{site_packages}/{name}-*.dist-info/RECORD' for name in names]
  return [*records, f'{sysconfig.get_path("stdlib")}/*.py']


def _files(suffixes: tuple[str, ...], split: str) -> list[Path]:
  """The files of a split in the order of a hash of their relative paths."""
  chosen = []
  for relative, path in _all_files():
    if relative.suffix in suffixes and not LEFT_OUT & {*relative.parts}:
      digest = hashlib.blake2b(relative.as_posix().encode()).digest()
      held_out = int.from_bytes(digest[8:16]) % 100 < VALIDATION_PERCENT
      if held_out == (split == 'validation'):
        chosen.append((digest, path))
  return [path for _, path in sorted(chosen)]


@functools.cache
def _all_files() -> tuple[tuple[PurePath, Path], ...]:
  """Each file's path relative to its root, and in full."""
  found = []
  for name in DISTRIBUTIONS:
    try:
      files = importlib.metadata.files(name) or []
    except importlib.metadata.PackageNotFoundError:
      continue
    found += [(file, Path(file.locate())) for file in files]
  library = Path(sysconfig.get_path('stdlib'))
  for folder, folders, names in os.walk(library):
    folders[:] = [name for name in folders if name not in NOT_STANDARD]
    paths = [Path(folder, name) for name in names]
    found += [(path.relative_to(library), path) for path in paths]
  return tuple(found)


for _name in KINDS:
  seqio.TaskRegistry.add(
    _name,
    source=text_source(
      functools.partial(texts, _name),
      source_files(),
      functools.partial(describe, _name),
    ),
    output_features=FEATURES,
    preprocessors=PREPROCESSORS,
  )
seqio.MixtureRegistry.add('installed_text', list(KINDS), default_rate=1.0)
