"""Our train step beside the same in PyTorch: shown to be equal, then timed.

Both sides train in float32 on the CPUs that this process may use, each in a
process of its own, so that neither's threads or memory are in the other's way;
they take turns.

What the twin is spared: our step also counts right predictions, sums by source
and, on rows of one document, makes and applies a mask, where PyTorch's
attention only needs to be told that it is causal. On rows of several documents
both have the mask.
"""

import math
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from our_step import OurStep, random_batch
from torch_twin import TwinStep, batch_of

from tpu_lm.checks import UserError, require
from tpu_lm.phase import Run
from tpu_lm.tree import count, named_paths

TOLERANCE = 1e-4
RATE = 1e-2  # of the updates that are compared
SIDES = ('ours', 'eager', 'compiled')


def lines(
  run: Run, documents: int, check_only: bool, rounds: int, steps: int
) -> Iterator[str]:
  """Compares, then times; one line a finding.

  Args:
    run: its first phase is taken.
    documents: in each row.
    check_only: whether nothing is timed.
    rounds: turns of each side.
    steps: timed in a turn.

  Raises:
    UserError: the run is of a kind that the twin is not, or the two differ.
  """
  must = "must be 'float32': bfloat16 is compared on GPUs, by gpu.py"
  require(run.model.dtype == 'float32', 'Decoder.dtype', run.model.dtype, must)
  phase = run.phases[0]
  shapes = jax.eval_shape(run.model.init, jax.random.key(0))
  yield (
    f'{count(shapes):,} parameters, {phase.batch_size} rows of'
    f' {phase.sequence_length} tokens, documents in a row: {documents};'
    f' {len(os.sched_getaffinity(0))} threads, torch {torch.__version__},'
    f' jax {jax.__version__}; load {os.getloadavg()[0]:.1f}'
  )
  for side in SIDES[1:]:
    errors = compare(run, documents, compiled=side == 'compiled')
    errors.check(side)
    yield f'{side} is equal, largest relative errors: {errors.text()}'
  if not check_only:
    yield from report(run, measure(run, documents, rounds, steps))


class Errors(NamedTuple):
  """How far the twin is from ours, relative, and where.

  A number is compared with its own size, an array's largest difference with
  the largest value of the array.

  Attributes:
    loss: of the mean over the batch.
    gradients: the largest of all arrays'.
    norm: of the gradients, before they are clipped.
    update: of the parameters by clipping and AdamW, the largest of all arrays',
      when the twin is given our gradients. (By its own, first steps of Adam
      would compare the signs of gradients near zero.)
  """

  loss: tuple[float, str]
  gradients: tuple[float, str]
  norm: tuple[float, str]
  update: tuple[float, str]

  def text(self) -> str:
    """One line."""
    return ', '.join(
      f'{name} {error:.1e}' for name, (error, _) in self._asdict().items()
    )

  def check(self, side: str) -> None:
    """UserError if any is above the tolerance, or no number."""
    for name, (error, where) in self._asdict().items():
      if not error <= TOLERANCE:
        raise UserError(
          f'PyTorch ({side}) is not equal: {name} off by {error:.1e} at {where}'
        )


def compare(run: Run, documents: int, compiled: bool) -> Errors:
  """Takes two steps on both sides, each from our state, and compares them.

  Args:
    run: what is trained; its schedule is left aside.
    documents: in each row.
    compiled: whether the twin is.
  """
  phase = run.phases[0]
  ours = OurStep(
    run, _keeping(phase.optimizer.make(run.model.axes())), lambda _: RATE
  )
  twin = TwinStep(run, compiled, RATE)
  found = []
  for seed in range(2):
    batch = random_batch(phase, run.model.vocabulary, seed, documents)
    before = _arrays(ours.state.params)
    report = ours(batch)
    gradients = _arrays(ours.state.optimizer['gradients'])
    moved = _moved(_arrays(ours.state.params), before)
    total, weight = report['metrics']['loss']

    values = twin.model.views(lambda parameter: parameter.detach())
    _fill(values, before)
    loss = twin.gradients(batch_of(batch)).item()
    slopes = twin.model.views(lambda parameter: parameter.grad)
    off = _largest(_stacked(slopes, gradients), gradients)
    _fill(slopes, gradients)
    norm = twin.update().item()
    found.append(
      Errors(
        (_error(loss, float(total[0] / weight[0])), f'{loss:.4f}'),
        off,
        (_error(norm, float(report['gradient_norm'])), f'{norm:.4f}'),
        _largest(_moved(_stacked(values, before), before), moved),
      )
    )
  return Errors(*map(max, zip(*found, strict=True)))


def _keeping(optimizer):
  """The same optimizer, whose state has the gradients of the last step."""

  def init(params):
    zeros = jax.tree.map(jnp.zeros_like, params)
    return {'own': optimizer.init(params), 'gradients': zeros}

  def update(gradients, state, params):
    direction, own = optimizer.update(gradients, state['own'], params)
    return direction, {'own': own, 'gradients': gradients}

  return optax.GradientTransformation(init, update)


def _arrays(tree) -> dict[str, np.ndarray]:
  """Copies by name: what they are copied from is donated to the next step."""
  return {name: np.array(leaf) for name, leaf in named_paths(tree).items()}


def _fill(views: dict[str, list], arrays: dict[str, np.ndarray]) -> None:
  """Puts our arrays where the twin's views show."""
  assert views.keys() == arrays.keys(), views.keys() ^ arrays.keys()
  for name, parts in views.items():
    shape = len(parts), *parts[0].shape
    for part, own in zip(parts, arrays[name].reshape(shape), strict=True):
      part.copy_(torch.from_numpy(own))


def _stacked(views: dict[str, list], like: dict[str, np.ndarray]) -> dict:
  """The twin's arrays in the shapes of ours."""
  return {
    name: np.stack([part.numpy(force=True) for part in views[name]]).reshape(
      own.shape
    )
    for name, own in like.items()
  }


def _moved(after: dict, before: dict) -> dict:
  return {name: after[name] - own for name, own in before.items()}


def _largest(theirs: dict, ours: dict) -> tuple[float, str]:
  return max((_error(theirs[name], own), name) for name, own in ours.items())


def _error(theirs, own) -> float:
  difference = np.max(np.abs(np.float64(theirs) - own))
  size = np.max(np.abs(own))
  good = np.isfinite(difference) and size > 0
  return float(difference / size) if good else math.inf


def measure(
  run: Run, documents: int, rounds: int, steps: int
) -> dict[str, list[float]]:
  """Seconds a step of each side, in each round.

  Args:
    run: what is trained.
    documents: in each row.
    rounds: how often each side has its turn; every second in reverse order.
    steps: timed in a turn, after one that is not.
  """
  # Not forked: threads of XLA and PyTorch don't survive that.
  context = multiprocessing.get_context('spawn')
  pipes, seconds = {}, {side: [] for side in SIDES}
  try:
    for side in SIDES:
      pipes[side], end = context.Pipe()
      context.Process(target=_serve, args=(end, side, run, documents)).start()
      end.close()
      pipes[side].recv()  # compiled, before the next begins
    for number in range(rounds):
      for side in SIDES[:: -1 if number % 2 else 1]:
        pipes[side].send(steps)
        seconds[side].append(pipes[side].recv())
  except EOFError:
    raise UserError(f'the process of {side} ended, see above') from None
  finally:
    for pipe in pipes.values():
      pipe.close()
  return seconds


def _serve(pipe, side: str, run: Run, documents: int) -> None:
  """Takes steps when it is told to, and says how long one took."""
  phase, vocabulary = run.phases[0], run.model.vocabulary
  batches = [
    random_batch(phase, vocabulary, seed, documents) for seed in range(4)
  ]
  if side == 'ours':
    step = OurStep(run)
    wait = step.wait
  else:
    step = TwinStep(run, compiled=side == 'compiled')
    batches = [batch_of(batch) for batch in batches]

    def wait():
      """PyTorch on a CPU is done when it returns."""

  for batch in batches[:2]:
    step(batch)
  wait()
  pipe.send('ready')
  while True:
    try:
      steps = pipe.recv()
    except EOFError:
      return
    step(batches[0])
    wait()
    began = time.perf_counter()
    for number in range(steps):
      step(batches[number % len(batches)])
    wait()
    pipe.send((time.perf_counter() - began) / steps)


def report(run: Run, seconds: dict[str, list[float]]) -> Iterator[str]:
  """What was measured, one line each."""
  tokens = run.phases[0].tokens_per_step
  for side, times in seconds.items():
    yield f'{side}: {_spread([tokens / t for t in times], ",.0f")} tokens/s'
  for side in SIDES[1:]:
    pairs = zip(seconds[side], seconds['ours'], strict=True)
    ratios = [theirs / own for theirs, own in pairs]
    yield f'ours / {side}: {_spread(ratios, ".2f")} of {len(ratios)} turns'


def _spread(values: list[float], form: str) -> str:
  low, middle, high = min(values), statistics.median(values), max(values)
  return f'{middle:{form}} ({low:{form}} to {high:{form}})'
