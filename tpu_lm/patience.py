"""Reading from storage that fails for a passing reason is tried again.

Level 0: standard library only.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from tpu_lm.checks import UserError

PAUSES = (0.5, 2.0, 5.0)  # seconds before each new try

T = TypeVar('T')

_FINAL = (
  UserError,
  FileNotFoundError,
  PermissionError,
  IsADirectoryError,
  NotADirectoryError,
)


def may_pass(error: Exception) -> bool:
  """Whether trying again may help.

  Not where something is missing or refused, nor for an OSError without the
  system's number, which is somebody's finding, such as that a file is short.
  """
  found = isinstance(error, OSError) and error.errno is None
  return not found and not isinstance(error, _FINAL)


def patiently(
  read: Callable[[], T], passing: tuple[type[Exception], ...] = (OSError,)
) -> T:
  """What `read` returns, at its first success.

  Args:
    read: is called until it succeeds, four times at the most.
    passing: errors that may pass, unless `may_pass` knows better.

  Raises:
    Exception: the last error.
  """
  for pause in PAUSES:
    try:
      return read()
    except passing as error:
      if not may_pass(error):
        raise
    time.sleep(pause)
  return read()
