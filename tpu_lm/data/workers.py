"""Writing the pieces of a store in several processes of this machine."""

import concurrent.futures
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from tpu_lm.checks import UserError
from tpu_lm.data.job import Job, Tally
from tpu_lm.data.progress import SECONDS_BETWEEN_UPDATES, Progress

# Places in what the processes share: counts since the start, and whether to
# stop. The parent takes no lock to use it: a killed process may hold it.
_COUNTS = 3
_STOP = 3


class _StoppedError(Exception):
  """Another process failed, or the user has stopped the build."""


def run_in_processes(
  job: Job, shards: Sequence[int], processes: int, progress: Progress
) -> None:
  """Writes pieces in new processes, which end with this one however it ends.

  Args:
    job: what is written.
    shards: numbers of the shards.
    processes: how many to start.
    progress: is told how it goes on.

  Raises:
    UserError: a process raised it, or was killed.
  """
  context = multiprocessing.get_context('spawn')
  shared = context.RawArray('q', _COUNTS + 1)
  executor = concurrent.futures.ProcessPoolExecutor(
    processes,
    context,
    _start_worker,
    (job, shared, context.Lock()),
  )
  try:
    _run(executor, shards, 2 * processes, shared, progress)
  except BrokenProcessPool:
    raise UserError(
      f'{job.title}: a process that was building it died. If it printed no'
      ' reason, the system killed it, most likely for want of memory: build it'
      ' again with fewer processes. Shards that are done are kept'
    ) from None
  finally:
    shared[_STOP] = 1
    executor.shutdown(cancel_futures=True)


def _run(
  executor: concurrent.futures.Executor,
  shards: Sequence[int],
  ahead: int,
  shared: Any,
  progress: Progress,
) -> None:
  waiting = iter(shards)
  counts = [0] * _COUNTS
  running: dict[concurrent.futures.Future, int] = {}
  while True:
    for shard in itertools.islice(waiting, ahead - len(running)):
      running[executor.submit(_work, shard)] = shard
    if not running:
      return
    done, _ = concurrent.futures.wait(
      running,
      SECONDS_BETWEEN_UPDATES,
      concurrent.futures.FIRST_COMPLETED,
    )
    before, counts = counts, shared[:_COUNTS]
    progress.seen(*(now - was for now, was in zip(counts, before)))
    for future in done:
      record = future.result()
      progress.shard_done(running.pop(future), record['bytes'])


_worker: tuple[Job, Tally] | None = None  # of a process that was started here


def _start_worker(job: Job, shared: Any, lock: Any) -> None:
  global _worker
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
  threading.Thread(target=_die_with_parent, daemon=True).start()

  def report(*counts: int) -> None:
    with lock:
      for place, count in enumerate(counts):
        shared[place] += count
    if shared[_STOP]:
      raise _StoppedError

  _worker = job, Tally(report)


def _die_with_parent() -> None:
  multiprocessing.parent_process().join()
  os._exit(1)


def _work(shard: int) -> dict[str, Any]:
  assert _worker is not None
  job, tally = _worker
  return job.write(shard, tally)
