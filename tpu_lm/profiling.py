"""A window of steps that JAX's profiler looks at."""

import dataclasses
import pathlib

import jax

from tpu_lm.checks import check_counts, require
from tpu_lm.processes import primary


@dataclasses.dataclass(frozen=True, kw_only=True)
class Profile:
  """Which steps are profiled, into the run folder's `profile/PHASE`.

  Of several processes the first one is. TensorBoard's profile plug-in, or
  https://ui.perfetto.dev, shows the trace.

  Attributes:
    phase: its name.
    first: steps of the phase that are taken before; the first ones compile.
    steps: how many are profiled.
  """

  phase: str
  first: int = 20
  steps: int = 5

  def __post_init__(self):
    good = isinstance(self.phase, str) and self.phase != ''
    require(good, 'Profile.phase', self.phase, "must be a phase's name")
    check_counts('Profile', self, ('first', 'steps'))


class Window:
  """Starts and stops the profiler around the steps of a `Profile`.

  Args:
    profile: which; None: never.
    phase: the name of the phase that is trained.
    run_dir: the run folder.
  """

  def __init__(
    self, profile: Profile | None, phase: str, run_dir: pathlib.Path
  ):
    here = profile is not None and profile.phase == phase and primary()
    self._profile = profile if here else None
    self._folder = run_dir / 'profile' / phase
    self._open = False

  def before(self, taken: int) -> None:
    """To be called before each step."""
    if self._profile is None:
      return
    past = taken - self._profile.first
    if past == 0:
      _wait()  # for what was begun before, which is not meant
      self._folder.mkdir(parents=True, exist_ok=True)
      jax.profiler.start_trace(self._folder)
      self._open = True
    elif past >= self._profile.steps:
      self.close()

  def close(self) -> None:
    """Writes the trace, if one is open."""
    if self._open:
      _wait()
      jax.profiler.stop_trace()
      self._open = False


def _wait() -> None:
  """Until the devices have done what they were given."""
  for device in jax.local_devices():
    jax.block_until_ready(jax.device_put(0, device) + 1)
