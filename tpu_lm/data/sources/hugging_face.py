"""Folders of Hugging Face `datasets` that hold several splits."""

import collections
import glob
import json
import posixpath
from collections.abc import Iterable

from tpu_lm.checks import UserError
from tpu_lm.data.sources.kinds import kind_of
from tpu_lm.data.sources.listing import (
  absolute,
  is_folder,
  list_files,
  open_binary,
)

_SPLITS = 'dataset_dict.json'


def splits_of(path: str) -> dict[str, str]:
  """The folders of a saved DatasetDict.

  Args:
    path: any path, glob or URL.

  Returns:
    Name of a split to its folder; none if the path is no saved DatasetDict. A
    split called 'valid' is called 'validation' here.

  Raises:
    UserError: its list of splits can't be read.
  """
  folder = absolute(path)
  index = f'{folder}/{_SPLITS}'
  if not is_folder(folder) or not list_files([glob.escape(index)]):
    return {}
  try:
    with open_binary(index) as file:
      names = json.load(file)['splits']
      folders = {name: f'{folder}/{name}' for name in names}
  except (ValueError, KeyError, TypeError) as error:
    raise UserError(f'{index}: has no list of splits: {error!r}') from error
  if 'valid' in folders:
    folders.setdefault('validation', folders['valid'])
  return folders


def split_of(path: str, split: str) -> str:
  """What is read of a path for a split: its own folder, where it has several.

  Raises:
    UserError: it has several splits, and not this one.
  """
  splits = splits_of(path)
  if splits and split not in splits:
    raise UserError(
      f'{path}: has no {split} split, but {", ".join(splits)}. Name the folder'
      ' of one of them'
    )
  return splits.get(split, path)


def check_splits_apart(paths: Iterable[str]) -> None:
  """Raises UserError if files are of several splits of one DatasetDict.

  A folder above it would give its test split to training.
  """
  folders = {
    posixpath.dirname(path) for path in paths if kind_of(path)[0] == '.arrow'
  }
  above = collections.Counter(map(posixpath.dirname, folders))
  for folder, count in above.items():
    if count > 1 and splits_of(folder):
      raise UserError(
        f'{folder}: files of several of its splits would be read as one. Name'
        ' this folder by itself, or those of its splits'
      )
