"""Data that need no code: files of records, here or on object storage."""

import collections
import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tpu_lm.checks import UserError, check_all, check_number, require
from tpu_lm.data.examples.text import Text
from tpu_lm.data.progress import say
from tpu_lm.data.sources import listing
from tpu_lm.data.sources.formats import reader_of
from tpu_lm.data.sources.hugging_face import (
  check_splits_apart,
  split_of,
  splits_of,
)
from tpu_lm.data.sources.kinds import UNDERSTOOD, kind_of
from tpu_lm.data.sources.parts import Damaged, Place, Shard
from tpu_lm.data.sources.shards import make_shards

SPLITS = ('train', 'validation')
_TOLD = 3  # broken records that a process tells of each source
_told: collections.Counter[str] = collections.Counter()


@dataclasses.dataclass(frozen=True)
class Files:
  """Records of files: text, JSON, CSV, Parquet, TFRecord, ArrayRecord, Arrow.

  A .txt or .md file is one record with the field 'text'; so is each line of a
  .jsonl file with its own fields, each item of a .json file that is a list
  (else it is read as lines), each row of .csv, .parquet and .arrow, and each
  tf.train.Example or JSON object of .tfrecord and .array_record files. The
  first five and .tfrecord may be compressed (.gz, .xz, .zst), and a number may
  follow the name (-00000-of-00002).

  In a folder, names that begin with a dot and notes about data (README.md,
  dataset_info.json and the like) are left out, and so is what is not
  understood.

  Attributes:
    name: by which mixtures refer to it.
    path: a folder (read with all below it), file or glob of files (`**`
      crosses folders), or several of them; `~` is understood, and so are URLs
      such as gs://bucket/folder. A folder saved by Hugging Face `datasets`
      with several splits is read by them.
    validation_path: the same, for the validation split. Without it records
      are set aside from `path`, chosen by a hash of the fields that the
      example needs; unless `path` has a validation split of its own.
    validation_fraction: how many of them, in (0, 1).
    example: what is taken from a record, see `data/examples`.
    on_error: 'fail' ends at a broken record or file with its place; 'skip'
      counts broken records as 'bad', and reads of a damaged file what can be
      read.
  """

  name: str
  path: str | tuple[str, ...]
  validation_path: str | tuple[str, ...] | None = None
  validation_fraction: float = 0.05
  example: Any = Text()
  on_error: str = 'fail'

  def __post_init__(self):
    require(
      isinstance(self.name, str) and re.fullmatch(r'\w[\w.]*', self.name),
      'Files.name',
      self.name,
      'must be letters, digits, _ and ., not . first (it names a folder)',
    )
    for field in ('path', 'validation_path'):
      value = getattr(self, field)
      if isinstance(value, list):  # gin reads [...] as a list
        object.__setattr__(self, field, tuple(value))
      require(
        (field == 'validation_path' and value is None)
        or (len(_all(value)) > 0 and all(map(_is_path, _all(value)))),
        f'Files.{field}',
        value,
        'must be a string that is not empty, or several',
      )
    check_number(
      'Files.validation_fraction', self.validation_fraction, above=0, below=1
    )
    require(
      callable(getattr(self.example, 'pieces', None))
      and isinstance(getattr(self.example, 'fields', None), tuple),
      'Files.example',
      self.example,
      'must be an example format, such as @text.Text()',
    )
    require(
      self.on_error in ('fail', 'skip'),
      'Files.on_error',
      self.on_error,
      "must be 'fail' or 'skip'",
    )

  def absolute(self) -> 'Files':
    """The same with paths that do not depend on the working directory."""
    return dataclasses.replace(
      self,
      path=_absolute(self.path),
      validation_path=_absolute(self.validation_path),
    )

  def patterns(self, split: str) -> list[str]:
    """Globs for `listing.list_files` of what a split is read from."""
    return [listing.pattern_of(path) for path in self._read_from(split)[0]]

  def list_files(self, split: str) -> dict[str, int]:
    """Path to size in bytes of the files of a split, in order.

    Raises:
      UserError: there is none, or one whose kind is not understood.
    """
    patterns = self.patterns(split)
    found = listing.list_files(patterns)
    if not found:
      raise UserError(
        f'Files {self.name}: there is no file {", ".join(patterns)} of a kind'
        f' that is understood: {UNDERSTOOD}'
      )
    for path in found:
      if kind_of(path) is None:
        raise UserError(f'{path}: must end in {UNDERSTOOD}')
    check_splits_apart(found)
    return {path: int(size) for path, (size, _) in found.items()}

  def shards(self, split: str) -> list[Shard]:
    """What workers read, one at a time: at least one shard.

    The shards depend on the files alone, and give every record once.
    """
    return make_shards(self.list_files(split))

  def records(
    self, split: str, shard: Shard, counts: collections.Counter[str]
  ) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Reads the records of a shard that belong to a split.

    Args:
      split: 'train' or 'validation'.
      shard: of `shards(split)`.
      counts: where 'bad' records and 'damaged files' are counted.

    Yields:
      Place, whose str() is for messages, and record, in order. It has the
      fields of the example that are in the file, and may have others.

    Raises:
      UserError: under 'fail', for a broken record or file.
    """

    def bad(place, why):
      self.bad(place, why, counts)

    set_aside = self._read_from(split)[1]
    for part in shard.parts:
      reader = reader_of(part.path)
      try:
        for place, record in reader.read(part, self.example.fields, bad):
          if not set_aside or self._belongs(record) == split:
            yield place, record
      except Damaged as error:
        if self.on_error == 'fail':
          raise UserError(str(error)) from error
        counts['damaged files'] += 1
        say(f'{self.name}: {error}; what comes before it is used')
      except (FileNotFoundError, PermissionError) as error:
        why = error.strerror or type(error).__name__
        raise UserError(f'{part.path}: {why}') from error

  def bad(self, place: Any, why: Any, counts: collections.Counter[str]) -> None:
    """Fails for a broken record, or counts it as 'bad' and tells the first.

    Args:
      place: where it is, as `records` gives it.
      why: what is wrong; a BadRecord or its text.
      counts: those of the shard.
    """
    if self.on_error == 'fail':
      raise UserError(f'{place}: {why}')
    counts['bad'] += 1
    _told[self.name] += 1
    if _told[self.name] <= _TOLD:
      more = ' (others are only counted)' if _told[self.name] == _TOLD else ''
      say(f'{self.name}: passed over {place}: {why}{more}')

  def _belongs(self, record: Mapping[str, Any]) -> str:
    fields = self.example.fields
    values = {field: record.get(field) for field in fields}
    text = values[fields[0]]
    if len(fields) > 1 or not isinstance(text, str):
      text = json.dumps(values, sort_keys=True, default=str)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    held_out = int.from_bytes(digest) < self.validation_fraction * 2**64
    return SPLITS[held_out]

  def _read_from(self, split: str) -> tuple[list[str], bool]:
    """The paths of a split, and whether the other one is read from them too."""
    assert split in SPLITS, split
    paths = _all(self.path)
    if self.validation_path is not None:
      if split == 'validation':
        paths = _all(self.validation_path)
      return [split_of(path, split) for path in paths], False
    own = {'validation' in splits_of(path) for path in paths}
    if len(own) > 1:
      raise UserError(
        f'Files {self.name}: some of its paths have a validation split of'
        ' their own and others have not; make them two sources'
      )
    (divided,) = own
    role = split if divided else 'train'
    return [split_of(path, role) for path in paths], not divided


def _all(paths: Any) -> tuple[Any, ...]:
  return tuple(paths) if isinstance(paths, tuple | list) else (paths,)


def _is_path(path: Any) -> bool:
  return isinstance(path, str) and path != ''


def _absolute(paths: str | tuple[str, ...] | None) -> Any:
  if isinstance(paths, tuple):
    return tuple(map(listing.absolute, paths))
  return None if paths is None else listing.absolute(paths)


def check_files(key: str, files: Any) -> None:
  """Raises `UserError` unless `files` are `Files` of different names."""
  check_all(key, files, Files, 'Files')
  names = [one.name for one in files]
  good = len(set(names)) == len(names)
  require(good, key, names, 'must have different names')
