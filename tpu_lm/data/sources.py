"""Data that needs no code: text files on a disk."""

import dataclasses
import glob
import re
from pathlib import Path

from tpu_lm.checks import require

SUFFIXES = ('.txt', '.jsonl', '.jsonl.gz', '.jsonl.xz')


@dataclasses.dataclass(frozen=True)
class TextFiles:
  """A folder (or a file, or a glob) of .txt, .jsonl, .jsonl.gz, .jsonl.xz.

  A .txt file is one document; so is each line of a .jsonl file. They are
  tokenised as bytes, with an end token after each document.

  Attributes:
    name: by which mixtures refer to it.
    path: folder (read with all below it), file or glob; `~` is understood.
    validation_path: the same, for the validation split. Without it documents
      are set aside from `path`, chosen by a hash of their text.
    validation_fraction: how many of them, in (0, 1).
    text_field: the key of a JSON line that holds the text.
  """

  name: str
  path: str
  validation_path: str | None = None
  validation_fraction: float = 0.05
  text_field: str = 'text'

  def __post_init__(self):
    require(
      isinstance(self.name, str) and re.fullmatch(r'[\w.]+', self.name),
      'TextFiles.name',
      self.name,
      'must be made of letters, digits, _ and .',
    )
    for field in ('path', 'text_field', 'validation_path'):
      value = getattr(self, field)
      require(
        (isinstance(value, str) and value != '')
        or (field == 'validation_path' and value is None),
        f'TextFiles.{field}',
        value,
        'must be a string that is not empty',
      )
    require(
      isinstance(self.validation_fraction, float)
      and 0 < self.validation_fraction < 1,
      'TextFiles.validation_fraction',
      self.validation_fraction,
      'must be in (0, 1)',
    )

  def absolute(self) -> 'TextFiles':
    """The same with paths that do not depend on the working directory."""
    validation = self.validation_path
    return dataclasses.replace(
      self,
      path=_absolute(self.path),
      validation_path=None if validation is None else _absolute(validation),
    )

  def patterns(self, split: str) -> list[str]:
    """Globs of the files that 'train' or 'validation' is read from."""
    path = self.path
    if split == 'validation' and self.validation_path is not None:
      path = self.validation_path
    path = _absolute(path)
    if not Path(path).is_dir():
      return [path]
    return [f'{glob.escape(path)}/**/*{suffix}' for suffix in SUFFIXES]

  def paths(self, split: str) -> list[str]:
    """The files that are there, sorted."""
    found = (
      path
      for pattern in self.patterns(split)
      for path in glob.iglob(pattern, recursive=True)
    )
    return sorted(path for path in found if Path(path).is_file())


def _absolute(path: str) -> str:
  return str(Path(path).expanduser().absolute())
