"""Stopping on request: signals are remembered, not obeyed at once."""

import os
import signal

import jax
from jax.experimental import multihost_utils


class Interrupted(Exception):
  """The run was asked to stop, and saved; the same command goes on."""


class StopAfter:
  """While entered, as `StopSignals`, but stops after so many steps.

  Args:
    steps: taken here, over all phases.
  """

  def __init__(self, steps: int):
    self._left = steps

  def __enter__(self) -> 'StopAfter':
    return self

  def __exit__(self, *_) -> None:
    pass

  def due(self) -> bool:
    """Whether to stop here; to be asked once a step."""
    self._left -= 1
    return self._left <= 0


class StopSignals:
  """While entered, remembers that the process, or one of them, should stop.

  Cloud machines send SIGTERM some seconds before they vanish: enough for the
  step that is running and a checkpoint, if nobody dies of it first. A second
  signal is obeyed at once. Where processes have met (`jax.distributed`), JAX's
  preemption service hears SIGTERM, tells the others, and finds a step at which
  all of them can stop.
  """

  def __init__(self):
    self._received, self._asked = False, 0
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
    if self._met:
      return multihost_utils.reached_preemption_sync_point(self._asked)
    return self._received

  def _remember(self, number, frame) -> None:
    self._received = True
    signal.signal(number, self._before[number])

  def _pass_on(self, number, frame) -> None:
    signal.signal(number, self._before[number])
    os.kill(os.getpid(), signal.SIGTERM)
