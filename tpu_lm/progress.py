"""Progress of a run: a bar with the time left, or lines where none can be."""

import sys
import time

import rich.console
import rich.progress

LINE_EVERY = 20.0  # seconds between lines where there is no terminal


class Progress:
  """Shows how far a run is.

  Args:
    total: steps of the whole run.
    done: steps that were done before, by an earlier process.
    shown: whether anything is shown; of several processes one does.
  """

  def __init__(self, total: int, done: int, shown: bool = True):
    self._shown = shown
    self._total, self._done, self._first = total, done, done
    self._started = self._printed = time.monotonic()
    self._bar = None
    self.console = rich.console.Console(stderr=True)
    if shown and self.console.is_terminal:
      self._bar = rich.progress.Progress(
        rich.progress.TextColumn('{task.description}'),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TextColumn('left'),
        rich.progress.TimeRemainingColumn(elapsed_when_finished=False),
        rich.progress.TextColumn('{task.fields[note]}'),
        console=self.console,
        # Steps are slow and uneven at the start: average over minutes.
        speed_estimate_period=120,
      )
      self._task = self._bar.add_task('', total=total, completed=done, note='')

  def __enter__(self) -> 'Progress':
    if self._bar:
      self._bar.start()
    return self

  def __exit__(self, *_) -> None:
    if self._bar:
      self._bar.stop()

  def advance(self, steps: int, phase: str, note: str) -> None:
    """Counts `steps` more, with the phase's name and a short note."""
    self._done += steps
    if self._bar:
      self._bar.update(
        self._task, completed=self._done, description=phase, note=note
      )
    elif self._shown and time.monotonic() - self._printed > LINE_EVERY:
      self._printed = time.monotonic()
      rate = (self._done - self._first) / (self._printed - self._started)
      left = (self._total - self._done) / rate
      print(
        f'{phase}: {self._done:,} of {self._total:,} steps, {note}, '
        f'{left / 60:.1f} minutes left',
        file=sys.stderr,
        flush=True,
      )
