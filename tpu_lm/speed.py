"""How fast a phase is, and how much of its time its steps have."""

import contextlib
import statistics
import time
from collections.abc import Iterator

import jax

from tpu_lm.compiled.peaks import peak_flops


class Speed:
  """Times the steps of a phase in one process.

  Args:
    tokens: of a step.
    flops: that a step needs, see `forecast.flops`.
    taken: steps of the phase that were taken before.
    least: steps that a measurement needs: the device runs one behind.
  """

  def __init__(self, tokens: int, flops: float, taken: int, least: int):
    self._tokens, self._flops, self._least = tokens, flops, least
    self._begun = time.monotonic()
    self._first = taken
    self._mark = self._begun, taken
    self._paces: list[float] = []

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """What is done meanwhile is no step: an evaluation, a save."""
    began = time.monotonic()
    try:
      yield
    finally:
      then, taken = self._mark
      self._mark = then + time.monotonic() - began, taken

  def measure(self, taken: int, last: bool) -> tuple[int, dict[str, float]]:
    """What was reached since the last measurement.

    Args:
      taken: steps of the phase taken by now.
      last: whether it is the last, which is measured however short it is.

    Returns:
      How many steps are new, 0 if they are too few yet; and
      step_seconds; tokens_per_second; model_flops_per_second of all devices;
      goodput: the share of the time since the phase began here that its steps
      need at their usual (median) pace, the rest being compilation,
      evaluations, saves and hitches; and where they are known utilisation, the
      share of the devices' peak in bfloat16 ("model FLOPs utilisation"), and
      peak_memory_bytes, the most that one device has held.
    """
    now, (then, before) = time.monotonic(), self._mark
    steps, seconds = taken - before, max(now - then, 1e-9)
    if (steps < self._least and not last) or steps <= 0:
      return 0, {}
    self._mark = now, taken
    self._paces.append(seconds / steps)
    usual = statistics.median(self._paces)
    values = {
      'step_seconds': seconds / steps,
      'tokens_per_second': steps * self._tokens / seconds,
      'model_flops_per_second': steps * self._flops / seconds,
      'goodput': min(1.0, usual * (taken - self._first) / (now - self._begun)),
    }
    device = jax.local_devices()[0]
    peak = peak_flops(device.device_kind)
    if peak is not None:
      ours = values['model_flops_per_second']
      values['utilisation'] = ours / (peak * jax.device_count())
    memory = device.memory_stats() or {}
    if 'peak_bytes_in_use' in memory:
      values['peak_memory_bytes'] = float(memory['peak_bytes_in_use'])
    return steps, values
