"""Stopping on request: signals are remembered, not obeyed at once."""

import os
import signal

import jax
from jax.experimental import multihost_utils


class Interrupted(Exception):
  """The run was asked to stop, and saved; the same command goes on."""


class StopSignals:
  """While entered, remembers that the process, or one of them, should stop.

  Cloud machines send SIGTERM some seconds before they vanish: enough for the
  step that is running and a checkpoint, if nobody dies of it first. A second
  signal is obeyed at once. Where processes have met (`jax.distributed`), JAX's
  preemption service hears SIGTERM, tells the others, and finds a step at which
  all of them can stop.

  Args:
    after: steps after which to stop in any case; None: never.
  """

  def __init__(self, after: int | None = None):
    self._received, self._asked, self._after = False, 0, after
    self._met = jax.distributed.is_initialized()

  def __enter__(self) -> 'StopSignals':
    numbers = {signal.SIGTERM: self._remember, signal.SIGINT: self._remember}
    if self._met:
      numbers = {signal.SIGINT: self._pass_on}
    self._before = {n: signal.signal(n, take) for n, take in numbers.items()}
    return self

  def __exit__(self, *_) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def due(self) -> bool:
    """Whether to stop here; every process has to ask once a step."""
    self._asked += 1
    if self._after is not None and self._asked >= self._after:
      return True
    if self._met:
      return multihost_utils.reached_preemption_sync_point(self._asked)
    return self._received

  def _remember(self, number, frame) -> None:
    self._received = True
    signal.signal(number, self._before[number])

  def _pass_on(self, number, frame) -> None:
    signal.signal(number, self._before[number])
    os.kill(os.getpid(), signal.SIGTERM)
