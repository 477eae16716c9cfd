"""Builds batches ahead, in a thread, while the device is busy."""

import collections
from concurrent.futures import Future, ThreadPoolExecutor

from tpu_lm.data.batches import Batch, BatchBuilder
from tpu_lm.data.ledger import Ledger

DEPTH = 2


class Prefetch:
  """A `BatchBuilder` whose next batches are ready when they are asked for.

  A batch follows from the step and the ledger, so what is built ahead is what
  the builder would have built. When another ledger or step than the expected
  one is asked for, what was built ahead is dropped and building begins there.
  An error is raised by the `next` that needs the batch, not before.

  Attributes:
    series: the builder's.
  """

  def __init__(self, builder: BatchBuilder):
    self.series = builder.series
    self._builder = builder
    self._worker = ThreadPoolExecutor(1, 'prefetch')
    self._expected: tuple[int, Ledger] | None = None
    self._ahead: collections.deque[Future] = collections.deque()

  def next(self, phase_step: int, ledger: Ledger) -> tuple[Batch, Ledger]:
    """As `BatchBuilder.next`; up to `DEPTH` batches after it are begun."""
    if (phase_step, ledger) != self._expected:
      self._drop()
      begun = self._worker.submit(self._builder.next, phase_step, ledger)
      self._ahead.append(begun)
    for step in range(phase_step + len(self._ahead), phase_step + DEPTH + 1):
      later = self._worker.submit(self._after, self._ahead[-1], step)
      self._ahead.append(later)
    self._expected = None  # should the next line raise
    batch, ledger = self._ahead.popleft().result()
    self._expected = phase_step + 1, ledger
    return batch, ledger

  def close(self) -> None:
    """Stops building ahead; a batch that was begun is still finished."""
    self._drop()
    self._worker.shutdown(wait=False)

  def _after(self, before: Future, phase_step: int) -> tuple[Batch, Ledger]:
    # There is one worker, so the batch before is built.
    return self._builder.next(phase_step, before.result()[1])

  def _drop(self) -> None:
    for future in self._ahead:
      future.cancel()
    self._ahead.clear()
