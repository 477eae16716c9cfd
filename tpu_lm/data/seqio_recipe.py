"""The recipe of a seqio task: the task runs, a store keeps what it yields."""

import contextlib
import dataclasses
import functools
import inspect
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from tpu_lm.checks import UserError, nearest
from tpu_lm.data.dependencies import list_files
from tpu_lm.data.document import Document
from tpu_lm.data.fingerprint import (
  dataset_function,
  dependencies_of,
  patterns_of,
)
from tpu_lm.data.recipe import RECIPE_FORMAT
from tpu_lm.data.registry import (
  check_unedited,
  find_provider,
  load_seqio,
  vocabulary_adapter,
)
from tpu_lm.data.sources.parts import Part, Shard
from tpu_lm.data.sources.shards import TARGET
from tpu_lm.data.vocabularies import Vocabulary
from tpu_lm.data.writer import StoreHeader

PLAIN, PAIR = ('targets',), ('inputs', 'targets')


@dataclasses.dataclass(frozen=True)
class SeqioRecipe:
  """Documents of a seqio task, in order, exactly as it yields their tokens.

  A task whose only feature is 'targets' gives plain documents. One with
  'inputs' and 'targets' gives documents of both, one after the other, which
  are packed whole; the inputs carry no loss.

  A task that seqio cached is read from there, unless it gets another
  vocabulary: what is cached are tokens.

  Attributes:
    task: its name.
    split: one of its splits.
    modules: names of modules that register tasks; workers import them, too.
    vocabulary: replaces the task's own; None keeps that.
    cache_dirs: where seqio caches tasks.
  """

  task: str
  split: str
  modules: tuple[str, ...]
  vocabulary: Vocabulary | None = None
  cache_dirs: tuple[str, ...] = ()

  def header(self) -> StoreHeader:
    """See `Recipe`."""
    task, modules = self._find()
    features = _features(task)
    source = self._source(task)
    self._shard_names(source)  # that there are files comes before all else
    feature = task.output_features['targets']
    vocabulary = vocabulary_adapter().identify(feature.vocabulary)
    definition = self.definition() | {'modules': [*modules]}
    dependencies = dependencies_of(
      task, definition, modules, self._patterns(source)
    )
    check_unedited(dependencies.code, modules)
    return StoreHeader(
      task=self.task,
      split=self.split,
      vocabulary_size=feature.vocabulary.vocab_size,
      vocabulary=vocabulary,
      dependencies=dependencies,
      whole=features == PAIR,
      masked=features == PAIR,
    )

  def definition(self) -> dict[str, Any]:
    """What decides about the documents besides data and code, JSON-able."""
    given = self.vocabulary
    return {
      'vocabulary': given.describe() if given else {},
      'cache': cached_at(self.task, self.cache_dirs) if not given else '',
      'format': RECIPE_FORMAT,
    }

  def shards(self) -> Sequence[Shard]:
    """See `Recipe`; small files share one, and a function is but one."""
    return self._shards

  @functools.cached_property
  def _shards(self) -> tuple[Shard, ...]:
    task, _ = self._find()
    source = self._source(task)
    names = self._shard_names(source)
    sizes = self._sizes(source, names)
    count = min(len(names), max(1, -(-sum(sizes) // TARGET)))
    if not all(sizes):  # unknown: they may be large
      count = len(names)
    if not self.modules:  # registered by hand: other processes have no task
      count = 1
    return tuple(
      Shard(
        tuple(Part(name, 0, -1) for name in names[i::count]),
        sum(sizes[i::count]),
      )
      for i in range(count)
    )

  def documents(
    self, shard: int, counts: Counter[str]
  ) -> Iterator[Document | None]:
    """See `Recipe`."""
    seqio = load_seqio()
    task, _ = self._find()
    features = _features(task)
    function = dataset_function(task.source)
    count = len(self._shards)
    with _told(task):
      examples = task.get_dataset(
        sequence_length=None,  # whole documents: nothing is cut off
        split=self.split,
        use_cached=self._cache(task) != '',
        shuffle=False,
        seed=0 if _takes_seed(function) else None,
        shard_info=seqio.ShardInfo(shard, count) if count > 1 else None,
        try_in_mem_cache=False,
      )
      decode = functools.partial(_decode, _vocabulary(task))
      for example in examples.as_numpy_iterator():
        yield _document(example, features, decode)

  def decode(self, tokens: np.ndarray) -> str:
    """See `Recipe`."""
    if self.vocabulary is not None:
      return self.vocabulary.decode(tokens)
    return _decode(_vocabulary(self._find()[0]), tokens)

  def _find(self) -> tuple[Any, tuple[str, ...]]:
    """The task with its vocabulary, and the modules that register it."""
    task, modules = find_provider(self.task, self.modules)
    if hasattr(task, 'tasks'):
      raise UserError(f'{self.task} is a mixture: open its tasks')
    if self.split not in task.splits:
      raise UserError(
        f'{self.task} has no split {self.split!r}.'
        + nearest(self.split, task.splits)
      )
    return with_vocabulary(task, self.vocabulary), modules

  def _source(self, task: Any) -> Any:
    _forget_files(load_seqio())
    if not self._cache(task):
      return task.source
    return task._get_cached_source(self.split)

  def _cache(self, task: Any) -> str:
    """Where the task is read from seqio's cache; '' where it is not."""
    cache = self.definition()['cache']
    if cache and task.supports_caching:
      load_seqio().add_global_cache_dirs(self.cache_dirs)
      if task.cache_dir != cache:
        raise UserError(
          f'{self.task} is cached at {task.cache_dir} and at {cache}'
        )
      return cache
    if task.requires_caching:
      why = 'not with another vocabulary' if self.vocabulary else 'nowhere'
      raise UserError(
        f'{self.task} must be read from a cache of seqio, and it is cached'
        f' {why}. Name the folder in Corpus.seqio_cache_dirs'
      )
    return ''

  def _shard_names(self, source: Any) -> list[str]:
    names = [str(name) for name in source.list_shards(self.split)]
    if not names:
      where = ', '.join(patterns_of(source, self.split))
      raise UserError(f'{self.task}/{self.split}: there is no file {where}')
    return names

  def _sizes(self, source: Any, names: list[str]) -> list[int]:
    """Bytes of each shard as stored; 0 where that is unknown."""
    if describe := getattr(dataset_function(source), 'describe', None):
      return [describe(self.split)[1]]
    files = list_files(self._patterns(source))
    return [files[name][0] if name in files else 0 for name in names]

  def _patterns(self, source: Any) -> list[str]:
    found = patterns_of(source, self.split)
    cache = self.definition()['cache']
    info = [f'{cache}/info.{self.split}.json'] if cache else []
    return sorted([*found, *info])


def cached_at(task: str, cache_dirs: Sequence[str]) -> str:
  """The folder in which seqio has cached a task; '' if there is none."""
  for folder in cache_dirs:
    place = os.path.join(folder, *task.split(':'))
    if list_files([f'{place}/COMPLETED']):
      return place
  return ''


def with_vocabulary(task: Any, vocabulary: Vocabulary | None) -> Any:
  """The task with all its features in another vocabulary; None: as it is."""
  if vocabulary is None:
    return task
  adapted = vocabulary_adapter().SeqioVocabulary(vocabulary)
  return task.replace(
    output_features={
      name: dataclasses.replace(feature, vocabulary=adapted)
      for name, feature in task.output_features.items()
    }
  )


def _features(task: Any) -> tuple[str, ...]:
  features = tuple(sorted(task.output_features))
  if features not in (PLAIN, PAIR):
    raise UserError(
      f'{task.name} has the features {[*features]}; a token store holds'
      " 'targets', or 'inputs' and 'targets'. Join them in a preprocessor of"
      ' the task'
    )
  vocabularies = [task.output_features[name].vocabulary for name in features]
  if any(vocabulary != vocabularies[0] for vocabulary in vocabularies):
    raise UserError(
      f'{task.name} has a vocabulary for its inputs and another for its'
      ' targets; a token store has one. Set Corpus.vocabulary'
    )
  return features


def _document(
  example: dict[str, Any], features: tuple[str, ...], decode: Any
) -> Document | None:
  parts = [np.asarray(example[name]) for name in features]
  if not any(part.size for part in parts):
    return None
  texts = []
  for name, part in zip(features, parts):
    kept = example.get(f'{name}_pretokenized')
    texts.append(kept.decode() if isinstance(kept, bytes) else decode(part))
  loss = None
  if features == PAIR:
    loss = np.repeat([False, True], [len(part) for part in parts])
  return Document(np.concatenate(parts), ''.join(texts), loss)


def _vocabulary(task: Any) -> Any:
  return task.output_features['targets'].vocabulary


def _decode(vocabulary: Any, tokens: np.ndarray) -> str:
  # seqio's own vocabularies stop at the first end token.
  marks = {vocabulary.eos_id, vocabulary.pad_id}
  return vocabulary.decode([t for t in tokens.tolist() if t not in marks])


def _takes_seed(function: Any) -> bool:
  return function is None or 'seed' in inspect.signature(function).parameters


def _forget_files(seqio: ModuleType) -> None:
  """It remembers what a glob matched; files may have come since."""
  seqio.utils._list_files_for_glob.cache_clear()


@contextlib.contextmanager
def _told(task: Any) -> Iterator[None]:
  """Passes on a user's mistake that TensorFlow kept only the text of."""
  import tensorflow as tf

  try:
    yield
  except tf.errors.OpError:
    if error := getattr(dataset_function(task.source), 'error', None):
      raise error from None
    raise
