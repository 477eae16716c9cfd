"""What becomes of steps whose numbers went bad."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from tpu_lm.checks import check_counts, check_number, require
from tpu_lm.optimizers.offload import in_device_memory
from tpu_lm.state import Method, TrainState
from tpu_lm.tree import Tree

STOP, SKIP, ROLL_BACK, IGNORE = 'stop', 'skip', 'roll_back', 'ignore'
WATCHED = ('loss', 'gradient_norm')
# A median absolute deviation is this share of a normal distribution's standard
# deviation (its 0.75 quantile).
DEVIATION = 0.6745
LEAST_SPREAD = 1e-3  # of the median: numbers that hardly move are no spikes


@dataclasses.dataclass(frozen=True)
class Guard(Method):
  """Watches the loss and the gradient norm of every step.

  A step is bad if one of them, both of the whole batch, is not finite, or lies
  far above what it was of late: its robust z-score, (x - median) / (MAD /
  0.6745) over the last `window` steps, is above `threshold` (Iglewicz and
  Hoaglin, 1993, "How to detect and handle outliers"; half of a window may be
  spikes before the median follows). What is finite enters the window, bad or
  not, so that a lasting change is bad for half a window at the most.

  From a bad step nothing is kept: neither parameters nor optimizer state nor
  slots change. The rows that were read for nothing are recorded in the ledger,
  are not replayed, and are marked in the report. Policies:

    stop: the run ends with code 3; what was saved before stays.
    skip: training goes on with the next batch.
    roll_back: training goes on from a checkpoint before the bad step, with the
      batch after it; what lay between was read and is not read again
      (Chowdhery et al., 2022, "PaLM", section 5.1, went back some 100 steps and
      skipped 200 to 500 batches).
    ignore: spikes are no concern.

  Attributes:
    not_finite: stop, skip or roll_back.
    spike: ignore, stop, skip or roll_back.
    threshold: the z-score above which a number is a spike.
    window: steps that a number is compared with; the first half of a window
      judges nothing.
    back: steps that a checkpoint must lie before the bad step to be rolled back
      to. Where none does the oldest is taken, without any the phase's entry.
    most: bad steps within a window before the run stops all the same.
  """

  not_finite: str = STOP
  spike: str = IGNORE
  threshold: float = 6.0
  window: int = 128
  back: int = 1
  most: int = 10

  def __post_init__(self):
    for key in ('not_finite', 'spike'):
      known = (STOP, SKIP, ROLL_BACK, *((IGNORE,) if key == 'spike' else ()))
      must = f'must be one of {", ".join(known)}'
      value = getattr(self, key)
      require(value in known, f'Guard.{key}', value, must)
    check_number('Guard.threshold', self.threshold, above=0)
    check_counts('Guard', self, ('window', 'back', 'most'))

  def init(self, params: Tree) -> Tree:
    """How many finite steps were seen, and the last of them, f32[2, window]."""
    shape = len(WATCHED), self.window
    return {'seen': jnp.zeros((), jnp.int32), 'last': jnp.zeros(shape)}

  def around(self, train_step: Callable) -> Callable:
    """The same step, but nothing is kept where it is bad.

    Args:
      train_step: of `make_train_step`, on states with the slot of this.

    Returns:
      The step. Its report has also `guard`: scores f32[2] and finite bool[2],
      of the loss and the gradient norm.
    """

    def guarded(state: TrainState, batch: dict) -> tuple[TrainState, dict]:
      new, report = train_step(state, batch)
      slot = state.slots[self.name]
      loss = report['metrics']['loss']
      mean = jnp.sum(loss.total) / jnp.maximum(jnp.sum(loss.weight), 1e-9)
      numbers = jnp.stack([mean, report['gradient_norm']])
      scores, finite = self._scores(slot, numbers), jnp.isfinite(numbers)
      bad = ~jnp.all(finite)
      if self.spike != IGNORE:
        bad |= jnp.any(scores > self.threshold)

      def kept(before: Tree, after: Tree) -> Tree:
        before = in_device_memory(before)
        return jax.tree.map(lambda b, a: jnp.where(bad, b, a), before, after)

      slots = kept(state.slots, new.slots)
      slots[self.name] = self._entered(slot, numbers, jnp.all(finite))
      report['guard'] = {'scores': scores, 'finite': finite}
      state = TrainState(
        step=new.step,
        params=kept(state.params, new.params),
        optimizer=kept(state.optimizer, new.optimizer),
        slots=slots,
      )
      return state, report

    return guarded

  def judge(self, report: dict) -> tuple[str, str] | None:
    """What was bad of a step, as a line, and the policy; None: nothing was.

    Args:
      report: of the step, fetched.
    """
    scores, finite = (report['guard'][key] for key in ('scores', 'finite'))
    for name, good in zip(WATCHED, finite, strict=True):
      if not good:
        return f'{name} not finite', self.not_finite
    for name, score in zip(WATCHED, scores, strict=True):
      if self.spike != IGNORE and score > self.threshold:
        return f'{name} {score:.1f} deviations above its median', self.spike
    return None

  def _scores(self, slot: Tree, numbers: jax.Array) -> jax.Array:
    seen = jnp.minimum(slot['seen'], self.window)
    there = jnp.arange(self.window) < seen
    median = _median(slot['last'], there, seen)
    away = jnp.abs(slot['last'] - median[:, None])
    spread = _median(away, there, seen) / DEVIATION
    spread = jnp.maximum(spread, LEAST_SPREAD * jnp.abs(median) + 1e-30)
    scores = (numbers - median) / spread
    enough = seen >= (self.window + 1) // 2
    return jnp.where(enough & jnp.isfinite(scores), scores, 0.0)

  def _entered(self, slot: Tree, numbers: jax.Array, finite) -> Tree:
    place = slot['seen'] % self.window
    last = slot['last'].at[:, place].set(numbers)
    return {
      'seen': slot['seen'] + finite.astype(jnp.int32),
      'last': jnp.where(finite, last, slot['last']),
    }


def slot_keepers(phase) -> tuple[Method, ...]:
  """Everything of a phase that has a slot."""
  return (*phase.methods, *((phase.guard,) if phase.guard else ()))


def _median(rows: jax.Array, there: jax.Array, count: jax.Array) -> jax.Array:
  """The median of the first `count` of each row, f32[2]."""
  ordered = jnp.sort(jnp.where(there, rows, jnp.inf), axis=-1)
  count = jnp.maximum(count, 1)
  middle = jnp.stack([(count - 1) // 2, count // 2])
  return jnp.mean(ordered[:, middle], axis=-1)
