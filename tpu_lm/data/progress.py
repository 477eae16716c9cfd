"""Telling a person at work, or a log file, how a build goes on."""

import sys
import time
from collections.abc import Mapping

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_UPDATES = 0.2


def say(line: str) -> None:
  """Prints a line to standard error."""
  print(line, file=sys.stderr, flush=True)


class Progress:
  """How far a build is: a bar in a terminal or notebook, elsewhere lines.

  Use it as a context manager; what is shown goes to standard error.
  """

  def __init__(self, title: str, sizes: Mapping[int, int], done: int = 0):
    """Starts the clock.

    Args:
      title: what is built.
      sizes: number of each shard that is to be done to its bytes of text, as
        well as is known; 0 where it is not.
      done: shards that were done by an earlier run.
    """
    self._title = title
    self._sizes = dict(sizes)
    self._size = sum(sizes.values())
    self._earlier = done
    self._shards = self._shard_bytes = self._shard_size = 0
    self._documents = self._tokens = self._bytes = 0
    self._start = time.monotonic()
    self._due = self._start + SECONDS_BETWEEN_LINES
    self._bar = _bar()
    self._task = None

  def __enter__(self) -> 'Progress':
    """Shows the bar, where there is one."""
    if self._bar is not None:
      self._bar.start()
      self._task = self._bar.add_task(self._title, total=1.0, text='')
    return self

  def __exit__(self, *error: object) -> None:
    """Takes the bar away again."""
    if self._bar is not None:
      self._bar.stop()

  def seen(self, documents: int, tokens: int, text: int) -> None:
    """Says what was read since it was said last, in all shards.

    Args:
      documents: how many.
      tokens: of them.
      text: of them, in bytes or, which is near enough, characters.
    """
    self._documents += documents
    self._tokens += tokens
    self._bytes += text
    self._show()

  def shard_done(self, shard: int, text: int) -> None:
    """Says that a shard is done, and how many bytes of text it had."""
    self._shards += 1
    self._shard_bytes += text
    self._shard_size += self._sizes[shard]
    self._show()

  def seconds_left(self) -> float | None:
    """Estimates them; None as long as there is nothing to go by."""
    share = self._share()
    if not share:
      return None
    return (time.monotonic() - self._start) * (1 - share) / share

  def _share(self) -> float:
    if not self._size:
      return self._shards / max(len(self._sizes), 1)
    # Sizes are guesses, of compressed files above all. How far they are off is
    # learnt from the shards that are done.
    ratio = self._shard_size / self._shard_bytes if self._shard_bytes else 1
    started = max(self._bytes - self._shard_bytes, 0) * ratio
    return min((self._shard_size + started) / self._size, 1.0)

  def _show(self) -> None:
    now = time.monotonic()
    if self._bar is not None:
      self._bar.update(self._task, completed=self._share(), text=self._text())
    elif now >= self._due:
      self._due = now + SECONDS_BETWEEN_LINES
      say(f'{self._title}: {self._text()}')

  def _text(self) -> str:
    seconds = max(time.monotonic() - self._start, 1e-9)
    total = self._earlier + len(self._sizes)
    parts = [f'{self._earlier + self._shards} of {total} shards']
    if self._size:
      done = self._share() * self._size
      parts.append(f'{done / 1e6:,.0f} of {self._size / 1e6:,.0f} MB')
      parts.append(f'{done / seconds / 1e6:.1f} MB/s')
    parts.append(f'{self._documents:,} documents')
    parts.append(f'{self._tokens / 1e6:,.1f} M tokens')
    left = self.seconds_left()
    if left is not None:
      parts.append(f'{clock(left)} left')
    return ', '.join(parts)


def clock(seconds: float) -> str:
  """Writes a duration as 0:07, 12:34 or 3:02:01."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f'{hours}:{minutes:02d}:{seconds:02d}'
  return f'{minutes}:{seconds:02d}'


def _bar():
  """A bar of the `rich` package; None where nobody would see it move."""
  from rich.console import Console
  from rich.progress import BarColumn, TextColumn
  from rich.progress import Progress as Bar

  console = Console(stderr=True)
  if not (console.is_terminal or console.is_jupyter):
    return None
  return Bar(
    TextColumn('{task.description}'),
    BarColumn(20),
    TextColumn('{task.fields[text]}'),
    console=console,
    transient=True,
  )
