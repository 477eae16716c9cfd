"""What a token store is made of: the recipe that its builders follow."""

import dataclasses
import functools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from tpu_lm.checks import UserError, nearest
from tpu_lm.data.dependencies import Dependencies
from tpu_lm.data.document import (
  BadRecord,
  Document,
  Pieces,
  make_documents,
)
from tpu_lm.data.fingerprint import code_of, module_of
from tpu_lm.data.sources import listing
from tpu_lm.data.sources.files import SPLITS, Files
from tpu_lm.data.sources.parts import Shard
from tpu_lm.data.vocabularies import Vocabulary
from tpu_lm.data.writer import StoreHeader

# Raise it when the same records come out as other documents than before.
RECIPE_FORMAT = 1

# As many records as this are encoded together.
BATCH_RECORDS = 256
BATCH_CHARACTERS = 2**20


class Recipe(Protocol):
  """How the documents of one split come about, shard by shard.

  It is small and can be pickled: processes and Beam workers carry it, and any
  of them makes the same documents of a shard.

  Attributes:
    task: name of what the documents belong to.
    split: 'train', 'validation' or another that the task has.
  """

  task: str
  split: str

  def header(self) -> StoreHeader:
    """What is known before the first document, as things are now.

    Raises:
      UserError: no such data, or not such as a store can hold.
    """

  def shards(self) -> Sequence[Shard]:
    """The shards, the same ones in the same order on every machine."""

  def documents(
    self, shard: int, counts: Counter[str]
  ) -> Iterator[Document | None]:
    """Makes the documents of a shard, in their order.

    Args:
      shard: its number.
      counts: what was skipped is counted here: 'bad' and the like.

    Yields:
      Documents; None for a record that holds nothing.

    Raises:
      UserError: the data are bad.
    """

  def decode(self, tokens: np.ndarray) -> str:
    """The text of int[n] tokens of a document, end tokens left out."""


@dataclasses.dataclass(frozen=True)
class FilesRecipe:
  """The recipe of files: read, take the text, encode. No TensorFlow."""

  files: Files
  split: str
  vocabulary: Vocabulary

  def __post_init__(self):
    if self.split not in SPLITS:
      raise UserError(
        f'Files {self.files.name} has no split {self.split!r}.'
        + nearest(self.split, SPLITS)
      )

  @property
  def task(self) -> str:
    """The name of the files."""
    return self.files.name

  def header(self) -> StoreHeader:
    """See `Recipe`."""
    patterns = sorted(self.files.patterns(self.split))
    example = self.files.example
    dependencies = Dependencies(
      definition=self.definition(),
      **code_of(_foreign(example, self.vocabulary), self._packages()),
      patterns=patterns,
      files=listing.list_files(patterns),
    )
    return StoreHeader(
      task=self.task,
      split=self.split,
      vocabulary_size=self.vocabulary.size,
      vocabulary=self.vocabulary.describe(),
      dependencies=dependencies,
      whole=example.whole,
      masked=example.masked,
    )

  def definition(self) -> dict[str, Any]:
    """What decides about the documents besides data and code, JSON-able."""
    files = self.files.absolute()
    fields = {
      **{f.name: getattr(files, f.name) for f in dataclasses.fields(files)},
      'example': _describe(files.example),
    }
    described = {
      'files': fields,
      'vocabulary': self.vocabulary.describe(),
      'format': RECIPE_FORMAT,
    }
    return json.loads(json.dumps(described))

  def shards(self) -> Sequence[Shard]:
    """See `Recipe`."""
    return self._shards

  @functools.cached_property
  def _shards(self) -> tuple[Shard, ...]:
    # Workers get the list along with the recipe: it is not made again, and
    # files that have come since do not shift it.
    return tuple(self.files.shards(self.split))

  def documents(
    self, shard: int, counts: Counter[str]
  ) -> Iterator[Document | None]:
    """See `Recipe`."""
    empty = True
    masked = self.files.example.masked
    for batch in _batches(self._pieces(shard, counts)):
      for document in make_documents(batch, self.vocabulary, masked):
        empty = empty and document is None
        yield document
    if empty and len(self._shards) == 1:
      raise UserError(self._nothing())

  def _pieces(self, shard: int, counts: Counter[str]) -> Iterator[Pieces]:
    """The texts of each record of a shard."""
    files = self.files
    found = files.records(self.split, self._shards[shard], counts)
    for place, record in found:
      try:
        pieces = files.example.pieces(record)
      except BadRecord as error:
        files.bad(place, error, counts)
      else:
        yield pieces

  def _nothing(self) -> str:
    files = self.files
    if files.validation_path is not None or self.split == 'train':
      return f'Files {files.name}: no record of {self.split} holds any text'
    return (
      f'Files {files.name}: none of the few records falls into the validation'
      ' split. Set Files.validation_path to other files, or change'
      ' Files.validation_fraction'
    )

  def decode(self, tokens: np.ndarray) -> str:
    """See `Recipe`."""
    return self.vocabulary.decode(tokens)

  def _packages(self) -> list[str]:
    name = type(self.vocabulary).__name__
    package = {
      'SentencePiece': 'sentencepiece',
      'TokenizerJson': 'tokenizers',
    }.get(name)
    return [package] if package else []


def _batches(found: Iterable[Pieces]) -> Iterator[list[Pieces]]:
  """Groups records: vocabularies are several times faster on many texts."""
  batch, characters = [], 0
  for pieces in found:
    batch.append(pieces)
    characters += sum(len(text) for text, _ in pieces)
    if characters >= BATCH_CHARACTERS or len(batch) == BATCH_RECORDS:
      yield batch
      batch, characters = [], 0
  if batch:
    yield batch


def _foreign(*things: Any) -> set[str]:
  """Modules of classes that are not ours; `RECIPE_FORMAT` covers ours."""
  modules = map(module_of, things)
  return {name for name in modules if name.split('.')[0] != 'tpu_lm'}


def _describe(example: Any) -> dict[str, Any]:
  name = f'{type(example).__module__}.{type(example).__qualname__}'
  return {'class': name, **dataclasses.asdict(example)}
