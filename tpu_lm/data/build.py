"""Building a token store, shard by shard.

A build that was killed goes on where it was: the pieces that are done stay.
"""

import dataclasses
import functools
import os
import time
from collections.abc import Callable
from pathlib import Path

from tpu_lm.checks import UserError, require
from tpu_lm.data.contamination import Contamination
from tpu_lm.data.dependencies import Dependencies
from tpu_lm.data.finish import finish
from tpu_lm.data.folder import Folder
from tpu_lm.data.job import Job, Tally
from tpu_lm.data.local_storage import LocalFolder
from tpu_lm.data.progress import Progress, clock, say
from tpu_lm.data.recipe import Recipe
from tpu_lm.data.storage import open_folder
from tpu_lm.data.store import MANIFEST, Manifest, TokenStore
from tpu_lm.data.workers import run_in_processes
from tpu_lm.data.writer import done_pieces

# Starting processes takes longer than one needs for less than this.
BYTES_WORTH_PROCESSES = 32e6

# Given a job, the shards that are to be done with their sizes in bytes, and
# the number of those that are done already.
WritePieces = Callable[[Job, dict[int, int], int], None]


def build_store(
  recipe: Recipe,
  folder: str | Path,
  processes: int | None = None,
  contamination: Contamination | None = None,
) -> TokenStore:
  """Builds the store of a recipe, or what is missing of it, on this machine.

  Of two processes that build the same split in the same folder of a disk the
  second waits, and then reads what the first built. Object storage has no
  locks: there both build, and since both write the same bytes, each file
  whole, that is a waste and no danger.

  Processes are started anew (spawn): a script that calls this must have its
  own work under `if __name__ == '__main__'`.

  Args:
    recipe: what the store is made of, a `Recipe` that can be pickled.
    folder: where the stores of its task are, a path or a URL.
    processes: how many to use; None: one for each core, or only this one
      where there is too little to do.
    contamination: evaluation sets to look for in the texts, a
      `Contamination`, or None.

  Returns:
    The store, in folder/SPLIT-<hash of the recipe's dependencies>.

  Raises:
    UserError: the data are bad or empty, what they are built from changed
      meanwhile, or a process was killed.
  """
  write = functools.partial(_write_pieces, processes=processes)
  return build(recipe, folder, contamination, write)


def build(
  recipe: Recipe,
  folder: str | Path,
  contamination: Contamination | None,
  write: WritePieces,
) -> TokenStore:
  """Builds a store by whatever means write its pieces.

  Args:
    recipe: as of `build_store`, and so are folder and contamination.
    folder: where the stores of its task are.
    contamination: evaluation sets to look for.
    write: calls `Job.write` for each shard, anywhere and in any order.

  Returns:
    The store.

  Raises:
    UserError: see `build_store`.
  """
  parent = open_folder(folder)
  title = f'{recipe.task}/{recipe.split}'
  waiting = f'{title}: another process is building it; waiting for that'
  # Before anything is made, so that of a refusal nothing is left.
  header, shards = recipe.header(), recipe.shards()
  with parent.lock(f'{recipe.split}.lock', waiting):
    name = f'{recipe.split}-{header.dependencies.hash()}'
    job = Job(recipe, f'{parent.url}/{name}', header, contamination)
    store = open_folder(job.url)
    finished = Manifest.read(store) is not None
    start = time.monotonic()
    if not finished:
      _remove_unfinished(parent, recipe.split, name)
      store.clean()
      _write_missing(job, [shard.size for shard in shards], write)
    result = finish(store, header, len(shards), contamination)
    if not finished:
      _tell(title, result.manifest, time.monotonic() - start)
    return result


def _remove_unfinished(parent: Folder, split: str, name: str) -> None:
  """Removes what was begun from other data, code or vocabularies."""
  if not isinstance(parent, LocalFolder):
    return  # without a lock nobody knows whether it is being built
  for path in sorted(parent.path.glob(f'{split}-*')):
    mine = path.is_dir() and path.name.rpartition('-')[0] == split
    if not mine or path.is_symlink() or path.name == name:
      continue
    if not (path / MANIFEST).exists():
      say(f'removing {path}: never finished, and of other data or settings')
      LocalFolder(path).clear()


def _write_missing(job: Job, sizes: list[int], write: WritePieces) -> None:
  done = done_pieces(open_folder(job.url), job.contamination)
  missing = {n: size for n, size in enumerate(sizes) if n not in done}
  amount = f', {sum(sizes) / 1e6:,.1f} MB' if sum(sizes) else ''
  plural = '' if len(sizes) == 1 else 's'
  say(
    f'{job.title}: building its token store, {len(sizes):,} shard{plural}'
    f'{amount}'
  )
  if done:
    say(f'{job.title}: {len(done):,} of them are done already')
  if missing:
    write(job, missing, len(done))
  before, after = job.header.dependencies, job.recipe.header().dependencies
  lost = _lost(before, after)
  if lost:  # a network that is down looks the same: the pieces are right
    raise UserError(
      f'{job.title}: {lost} is gone or can not be reached any more. Shards that'
      ' are done are kept: build it again'
    )
  change = _change(before, after)
  if change:
    store = open_folder(job.url)
    # The same data may come back, and with them this folder's name.
    if Manifest.read(store) is None:  # else another builder was in time
      store.clear()
    raise UserError(
      f'{job.title}: {change} while its store was being built. Build it again'
      ' when nothing writes there any more'
    )


def _write_pieces(
  job: Job, sizes: dict[int, int], done: int, processes: int | None
) -> None:
  processes = _choose(job, sizes, processes)
  with Progress(job.title, sizes, done) as progress:
    if processes > 1:
      run_in_processes(job, list(sizes), processes, progress)
      return
    tally = Tally(progress.seen)
    for shard in sizes:
      record = job.write(shard, tally)
      progress.shard_done(shard, record['bytes'])


def _choose(job: Job, sizes: dict[int, int], processes: int | None) -> int:
  require(
    processes is None or (type(processes) is int and processes > 0),
    'processes',
    processes,
    'must be a positive integer, or None for one per core',
  )
  if job.url.startswith('memory://'):
    return 1  # no other process sees this one's memory
  if processes is None:
    much = sum(sizes.values()) >= BYTES_WORTH_PROCESSES
    processes = (os.cpu_count() or 1) if much else 1
  return min(processes, len(sizes))


def _lost(before: Dependencies, after: Dependencies) -> str:
  """A file that is not found any more, if all that is found is as it was."""
  same = before.files.items() >= after.files.items()
  lost = before.files.keys() - after.files.keys()
  bare = [
    dataclasses.replace(one, patterns=[], files={}) for one in (before, after)
  ]
  return min(lost) if same and lost and bare[0] == bare[1] else ''


def _change(before: Dependencies, after: Dependencies) -> str:
  """What is not as it was; '' if all is."""
  if before.hash() == after.hash():
    return ''
  for field, was in vars(before).items():
    now = getattr(after, field)
    if was == now:
      continue
    if isinstance(was, dict):
      keys = {*was, *now}
      return f'{min(k for k in keys if was.get(k) != now.get(k))} has changed'
    return f'its {field} has changed'
  raise AssertionError('hashes differ and the fields do not')


def _tell(title: str, manifest: Manifest, seconds: float) -> None:
  left_out = [f'{count:,} {what}' for what, count in manifest.counts.items()]
  say(
    f'{title}: done, {manifest.num_tokens:,} tokens in'
    f' {manifest.num_documents:,} documents, {clock(seconds)}'
    + (f'; left out: {", ".join(left_out)}' if left_out else '')
  )
