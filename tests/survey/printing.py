"""What `rich` prints, as text."""

import io

from rich.console import Console


def printed(*things, width=80, colours=False):
  """The lines as they come out, without spaces at their ends."""
  console = Console(
    file=io.StringIO(),
    width=width,
    force_terminal=colours,
    color_system='truecolor' if colours else None,
  )
  for thing in things:
    console.print(thing)
  lines = console.file.getvalue().splitlines()
  return '\n'.join(line.rstrip() for line in lines)
