"""Telling a person at work, or a log file, how a build goes on."""

import sys
import time
from collections.abc import Iterable, Iterator

import numpy as np
from rich.console import Console
from rich.progress import (
  BarColumn,
  Progress,
  TextColumn,
  TimeRemainingColumn,
)

SECONDS_BETWEEN_LINES = 10.0


def say(line: str) -> None:
  """Prints a line to standard error."""
  print(line, file=sys.stderr, flush=True)


def watch(
  documents: Iterable[np.ndarray], title: str, total: int | None = None
) -> Iterator[np.ndarray]:
  """Passes documents through and shows how many there were, and how fast.

  In a terminal or a notebook that is a bar; elsewhere a line now and then.

  Args:
    documents: token numbers, int[length] each.
    title: what is built.
    total: how many documents there will be, where that is known.

  Yields:
    The documents.
  """
  console = Console(stderr=True)
  start = time.monotonic()
  count = tokens = 0
  if console.is_terminal or console.is_jupyter:
    with _bar(console) as bar:
      task = bar.add_task(title, total=total, rate='')
      for document in documents:
        yield document
        count, tokens = count + 1, tokens + len(document)
        rate = _rate(tokens, start)
        bar.update(task, completed=count, rate=f'{count:,} documents, {rate}')
  else:
    due = start + SECONDS_BETWEEN_LINES
    for document in documents:
      yield document
      count, tokens = count + 1, tokens + len(document)
      if time.monotonic() >= due:
        due += SECONDS_BETWEEN_LINES
        of = f' of {total:,}' if total else ''
        say(f'{title}: {count:,}{of} documents, {_rate(tokens, start)}')
  say(
    f'{title}: done, {tokens:,} tokens in {count:,} documents,'
    f' {time.monotonic() - start:.1f} s'
  )


def _bar(console: Console) -> Progress:
  return Progress(
    TextColumn('{task.description}'),
    BarColumn(),
    TextColumn('{task.fields[rate]}'),
    TimeRemainingColumn(),
    console=console,
    transient=True,
  )


def _rate(tokens: int, start: float) -> str:
  seconds = max(time.monotonic() - start, 1e-9)
  return f'{tokens / seconds / 1e6:.2f} M tokens/s'
