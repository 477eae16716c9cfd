"""Stopping on request: signals are remembered, not obeyed at once."""

import signal


class Interrupted(Exception):
  """The run was asked to stop, and saved; the same command goes on."""


class StopSignals:
  """While entered, remembers in `received` that the process should stop.

  Cloud machines send SIGTERM some seconds before they vanish: enough for the
  step that is running and a checkpoint, if nobody dies of it first. A second
  signal is obeyed at once.
  """

  received = False

  def __enter__(self) -> 'StopSignals':
    numbers = (signal.SIGTERM, signal.SIGINT)
    self._before = {n: signal.signal(n, self._remember) for n in numbers}
    return self

  def __exit__(self, *_) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def _remember(self, number, frame) -> None:
    self.received = True
    signal.signal(number, self._before[number])
