"""Building a token store from a seqio task."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tpu_lm.checks import UserError, nearest
from tpu_lm.data.fingerprint import (
  dataset_function,
  dependencies_of,
  describe_vocabulary,
)
from tpu_lm.data.progress import say, watch
from tpu_lm.data.registry import check_unedited, load_seqio
from tpu_lm.data.store import TokenStore
from tpu_lm.data.writer import StoreHeader, write_store

FEATURE = 'targets'


def build_store(
  folder: Path,
  task: Any,
  split: str,
  definition: dict[str, Any],
  modules: tuple[str, ...],
) -> TokenStore:
  """Tokenises a task's split into a store, whole documents in their order.

  Args:
    folder: where the stores of the task are.
    task: a seqio Task whose only feature is 'targets'.
    split: name of the split.
    definition: how the corpus named the task.
    modules: those that register the task.

  Returns:
    The store.

  Raises:
    UserError: the split is unknown, the features are others, the data are bad
      or empty, or the code was edited after it was imported.
  """
  seqio = load_seqio()
  # It remembers what a glob matched; files may have come since.
  seqio.utils._list_files_for_glob.cache_clear()
  _check(task, split)
  vocabulary = task.output_features[FEATURE].vocabulary
  dependencies = dependencies_of(task, split, definition, modules)
  check_unedited(dependencies.code, modules)
  header = StoreHeader(
    task=task.name,
    split=split,
    vocabulary_size=vocabulary.vocab_size,
    vocabulary=describe_vocabulary(vocabulary),
    dependencies=dependencies,
  )
  return write_store(
    folder / f'{split}-{dependencies.hash()}', header, _documents(task, split)
  )


def _check(task: Any, split: str) -> None:
  if split not in task.splits:
    raise UserError(
      f'{task.name} has no split {split!r}.' + nearest(split, task.splits)
    )
  features = sorted(task.output_features)
  if features != [FEATURE]:
    raise UserError(
      f'{task.name} has the features {features}; a token store holds one,'
      f' {FEATURE!r}. Join them in a preprocessor of the task'
    )


def _documents(task: Any, split: str) -> Iterator[np.ndarray]:
  """Runs the task; nothing happens before the first document is asked for."""
  import tensorflow as tf

  title = f'{task.name}/{split}'
  function = dataset_function(task.source)
  say(f'{title}: building its token store')
  if describe := getattr(function, 'describe', None):
    files, size = describe(split)
    say(f'{title}: {size / 1e6:.1f} MB in {files:,} files')
  examples = task.get_dataset(
    sequence_length=None,  # whole documents: nothing is cut off
    split=split,
    shuffle=False,
    seed=0 if _takes_seed(function) else None,
    try_in_mem_cache=False,
  )
  tokens = (example[FEATURE] for example in examples.as_numpy_iterator())
  try:
    yield from watch(tokens, title, task.num_input_examples(split))
  except tf.errors.OpError:
    # TensorFlow keeps only the text of what a Python generator raised.
    if error := getattr(function, 'error', None):
      raise error from None
    raise


def _takes_seed(function: Any) -> bool:
  return function is None or 'seed' in inspect.signature(function).parameters
