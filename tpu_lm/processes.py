"""The processes of a run: how they meet, and how they agree.

Every process of a run executes the same program, each on its own devices. What
only one may do (logs, reports, lineage) the primary one does, process 0. What
goes wrong in one of them ends all, with its line.
"""

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Iterator

import jax
from jax._src import distributed, xla_bridge

from tpu_lm.checks import UserError

# A store may be built meanwhile. Who dies is noticed by JAX's heartbeats.
PATIENCE_MS = 14 * 24 * 3600 * 1000
_turns = itertools.count()


class OneFailed(UserError):
  """A mistake that all processes know of, so that all of them can end."""


def join(
  coordinator: str | None = None,
  processes: int | None = None,
  process: int | None = None,
) -> None:
  """Meets the other processes of the run, if there are any.

  To be called before anything else of JAX. Where no addresses are given, the
  environment tells: of TPU pods and slices (Compute Engine, GKE), SLURM, Open
  MPI, or Kubernetes with JAX's extra `k8s`. Where it tells nothing, or of one
  task only, the process stays alone.

  Args:
    coordinator: HOST:PORT of process 0, to be reached from all.
    processes: how many there are.
    process: which one this is, counted from 0.

  Raises:
    UserError: some of the three are given and some are not, they make no
      sense, or the others can't be met.
  """
  given = coordinator, processes, process
  if given == (None, None, None):
    if os.environ.get('SLURM_NTASKS') == '1':
      return  # alone it shall keep all GPUs; JAX would leave it one
    if xla_bridge.backends_are_initialized():
      return  # a notebook, which has met others by now or never will
  elif None in given or not 0 <= process < processes or ':' not in coordinator:
    raise UserError(
      '--coordinator=HOST:PORT, --processes=N and --process=I belong together,'
      f' I from 0 to N - 1; here they are {coordinator}, {processes}, {process}'
    )
  if os.environ.get('JAX_PLATFORMS') == 'cpu':
    # Programs that wait for each other need a thread each, however few cores
    # there are: else they wait for ever.
    os.environ.setdefault('NPROC', str(max(16, os.cpu_count() or 1)))
  try:
    jax.distributed.initialize(
      *given, cluster_detection_method='deactivate' if coordinator else None
    )
  except ValueError as error:
    if coordinator or 'coordinator_address' not in str(error):
      raise
  except RuntimeError as error:  # the others are not there
    raise UserError(f'the processes do not meet: {error}') from None


# Not `jax.process_count`: that waits until all processes have devices, and one
# of them may have ended before.
def count() -> int:
  """How many processes there are."""
  return distributed.global_state.num_processes


def primary() -> bool:
  """Whether this process is the one that writes what is written once."""
  return distributed.global_state.process_id == 0


def gather(text: str) -> list[str]:
  """What each process says, by its index; all must ask, in the same order.

  Goes through the coordinator and needs no device, so it may take its time.
  """
  if count() == 1:
    return [text]
  state, key = distributed.global_state, f'tpu_lm/{next(_turns)}'
  state.client.key_value_set(f'{key}/{state.process_id}', text)
  return [
    state.client.blocking_key_value_get(f'{key}/{index}', PATIENCE_MS)
    for index in range(state.num_processes)
  ]


def from_primary(text: str) -> str:
  """What the primary process says."""
  return gather(text)[0]


@contextlib.contextmanager
def together() -> Iterator[None]:
  """Past this block either all processes are without a mistake, or none.

  Raises:
    OneFailed: in every process, if one of them has raised a `UserError`.
  """
  own, mistake = None, ''
  try:
    yield
  except UserError as error:
    if count() == 1:
      raise
    own, mistake = error, str(error) or 'a mistake'
  found = {index: text for index, text in enumerate(gather(mistake)) if text}
  if found:
    index, text = min(found.items())
    raise OneFailed(mistake or f'process {index}: {text}') from own


def check_same(what: str, text: str) -> None:
  """UserError in every process unless all of them say the same."""
  said = gather(text)
  others = [index for index, other in enumerate(said) if other != said[0]]
  if others:
    lines = zip(said[0].splitlines(), said[others[0]].splitlines())
    shown = next((f': {a!r}, {b!r}' for a, b in lines if a != b), '')
    raise OneFailed(
      f'{what} must be the same in all processes, and is not in 0 and'
      f' {others[0]}{shown}'
    )


def launched_together(program: Callable) -> Callable:
  """A jitted function that no process launches before all have compiled it.

  What collectives wait for their partners is limited (gloo: 30 seconds), and
  processes of one machine may compile one after the other.

  Args:
    program: a function under `jax.jit`, whose last argument is a batch; called
      by all processes, in the same order.
  """
  if count() == 1:
    return program
  compiled = {}

  def launch(*arguments):
    shapes = tuple(leaf.shape for leaf in jax.tree.leaves(arguments[-1]))
    if shapes not in compiled:
      compiled[shapes] = program.lower(*arguments).compile()
      gather('')
    return compiled[shapes](*arguments)

  return launch


@contextlib.contextmanager
def ending_all(*known: type[Exception]) -> Iterator[None]:
  """What one process alone runs into ends it at once, and so the others.

  Left to itself it would wait at its exit for processes that wait for it.

  Args:
    *known: exceptions that all processes raise, or none.
  """
  try:
    yield
  except (OneFailed, *known):
    raise
  except BaseException as error:
    if count() == 1:
      raise
    if isinstance(error, UserError):
      print(f'tpu-lm: {error}', file=sys.stderr)
    else:
      sys.excepthook(*sys.exc_info())
    sys.stderr.flush()
    os._exit(1)
