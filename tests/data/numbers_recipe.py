"""A recipe of made-up documents, for builders to build."""

import dataclasses
import os
import signal
import time
from pathlib import Path

import numpy as np

from tpu_lm.checks import UserError
from tpu_lm.data.dependencies import Dependencies
from tpu_lm.data.document import Document
from tpu_lm.data.sources.parts import Part, Shard
from tpu_lm.data.writer import StoreHeader


@dataclasses.dataclass(frozen=True)
class Numbers:
  """Random tokens and loss flags; every seventh document is empty.

  Attributes:
    num_shards: shard 3 has no documents.
    documents_each: in a shard.
    seconds: between documents.
    size: of each shard, as told.
    mistake: a shard whose data are bad.
    killer: a shard that kills its process.
    watched: a file, whose text is among the dependencies.
  """

  num_shards: int = 6
  documents_each: int = 40
  seconds: float = 0.0
  size: int = 0
  mistake: int = -1
  killer: int = -1
  watched: str = ''
  task: str = 'numbers'
  split: str = 'train'

  def header(self):
    files = {}
    if self.watched:
      files = {self.watched: [len(Path(self.watched).read_bytes()), 0]}
    return StoreHeader(
      self.task,
      self.split,
      1000,
      {'hash': 'ab'},
      Dependencies(recipe=f'{self.num_shards}', files=files),
      whole=True,
      masked=True,
    )

  def shards(self):
    part = Part('numbers', 0, -1)
    return [Shard((part,), self.size) for _ in range(self.num_shards)]

  def documents(self, shard, counts):
    rng = np.random.default_rng(shard)
    if shard == self.killer:
      os.kill(os.getpid(), signal.SIGKILL)
    for number in range(self.documents_each if shard != 3 else 0):
      time.sleep(self.seconds)
      if shard == self.mistake and number == 5:
        raise UserError(f'numbers, shard {shard}, document 5: it is bad')
      if number % 7 == 6:
        yield None
        continue
      if number % 10 == 5:
        counts['bad'] += 1
        continue
      tokens = rng.integers(0, 1000, rng.integers(1, 300))
      yield Document(tokens, 'é' * len(tokens), rng.random(len(tokens)) < 0.5)
