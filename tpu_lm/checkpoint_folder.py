"""The folder of a phase's checkpoints: what is there, pinned, set aside."""

import pathlib
import shutil
import sys

from tpu_lm.checks import UserError
from tpu_lm.processes import gather, primary

# orbax writes it last. Its own `is_orbax_checkpoint` also accepts folders that
# lack it, such as what a killed removal leaves.
COMMITTED = 'commit_success.txt'
PINNED, DAMAGED = '.pinned', '.damaged'


class Damaged(UserError):
  """A checkpoint is not what was saved.

  Attributes:
    directory: the phase's checkpoints.
    step: which of them.
  """

  def __init__(self, directory: pathlib.Path, step: int, why: str):
    super().__init__(f'{directory / str(step)} is damaged: {why}')
    self.directory, self.step = directory, step


class CheckpointFolder:
  """One folder a step.

  Args:
    directory: of all of them; it need not exist.
  """

  def __init__(self, directory: pathlib.Path):
    self.directory = pathlib.Path(directory).absolute()

  def steps(self) -> list[int]:
    """Steps with a committed checkpoint, ascending."""
    if not self.directory.is_dir():
      return []
    found = [p for p in self.directory.iterdir() if p.name.isdigit()]
    return sorted(int(p.name) for p in found if (p / COMMITTED).is_file())

  def sweep(self) -> None:
    """Removes what killed processes left half written or half removed."""
    if not primary():
      return
    for pattern in ('*.orbax-checkpoint-tmp*', '.deleting-*'):
      for leftover in self.directory.glob(pattern):
        shutil.rmtree(leftover)
    for path in sorted(self.directory.glob('[0-9]*')):
      if path.name.isdigit() and not (path / COMMITTED).is_file():
        line = f'{path} is left out: its {COMMITTED} is missing'
        print(line, file=sys.stderr)

  def pin(self, step: int, pinned: bool = True) -> None:
    """Keeps a checkpoint whatever the retention says, or no longer."""
    mark = self.directory / f'{step}{PINNED}'
    mark.touch() if pinned else mark.unlink(missing_ok=True)

  def pinned(self) -> list[int]:
    """Steps that are pinned, ascending."""
    return [s for s in self.steps() if self.path(s, PINNED).exists()]

  def set_aside(self, step: int) -> pathlib.Path:
    """Renames a checkpoint so that it is none any more; returns its place."""
    place = self.path(step, DAMAGED)
    if primary():
      if place.exists():
        shutil.rmtree(place)
      self.path(step).rename(place)
    gather('')  # all wait for that
    return place

  def check_readable(self, step: int) -> None:
    """UserError unless every file of a checkpoint can be read."""
    try:
      for path in self.path(step).rglob('*'):
        if path.is_file():
          with path.open('rb') as file:
            while file.read(2**24):
              pass
    except OSError as error:
      raise UserError(
        f'{self.path(step)} can not be read: {error}. The same command tries'
        ' again'
      ) from None

  def path(self, step: int, ending: str = '') -> pathlib.Path:
    """Where the checkpoint of a step is, or a file beside it."""
    return self.directory / f'{step}{ending}'

  def delete(self, step: int) -> None:
    """Removes a checkpoint."""
    # Renamed first: a kill in mid-removal leaves nothing that looks whole.
    condemned = self.directory / f'.deleting-{step}'
    if condemned.exists():
      shutil.rmtree(condemned)
    self.path(step).rename(condemned)
    shutil.rmtree(condemned)
