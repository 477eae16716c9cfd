"""Runs a command of tpu-lm and kills it at a moment of its file operations.

  python -m tests.crash WHEN DELAY FOLDER -- train --gin_file=...

WHEN is KIND:N, the Nth operation of a kind that changes something under
FOLDER; DELAY is in milliseconds after it, during which TensorStore's threads
go on writing. With WHEN = count it is not killed, and how many operations of
each kind there were is written to FOLDER/operations.json.
"""

import collections
import json
import os
import signal
import sys
import threading
import time

KINDS = {
  'store': ('/stores/',),
  'save': ('.orbax-checkpoint-tmp',),
  'prune': ('.deleting-',),
  'log': ('metrics.jsonl', 'lineage.json', 'run.json', 'tfevents'),
}
EVENTS = ('os.rename', 'os.remove', 'os.rmdir', 'os.mkdir', 'shutil.rmtree')


def kind_of(event: str, arguments: tuple) -> str:
  """What an operation is part of."""
  text = ' '.join(str(argument) for argument in arguments[:2])
  if event == 'os.rename' and '.orbax-checkpoint-tmp' in text:
    return 'finalise'
  for kind, marks in KINDS.items():
    if any(mark in text for mark in marks):
      return kind
  return 'other'


def main() -> int:
  """Runs the command, with an eye on what Python does to files."""
  when, delay, folder = sys.argv[1:4]
  command = sys.argv[sys.argv.index('--') + 1 :]
  wanted, _, number = when.partition(':')
  counts: collections.Counter[str] = collections.Counter()

  def kill() -> None:
    time.sleep(float(delay) / 1000)
    os.kill(os.getpid(), signal.SIGKILL)

  def watch(event: str, arguments: tuple) -> None:
    if event == 'open':
      flags = arguments[2]
      if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return
    elif event not in EVENTS:
      return
    if not any(str(one).startswith(folder) for one in arguments[:2]):
      return
    kind = kind_of(event, arguments)
    counts[kind] += 1
    if kind == wanted and counts[kind] == int(number):
      if float(delay):
        threading.Thread(target=kill, daemon=True).start()
      else:
        os.kill(os.getpid(), signal.SIGKILL)

  sys.addaudithook(watch)
  from tpu_lm.cli import main as command_line

  code = command_line(command)
  if when == 'count':
    with open(os.path.join(folder, 'operations.json'), 'w') as file:
      json.dump(counts, file)
  return code


if __name__ == '__main__':
  sys.exit(main())
