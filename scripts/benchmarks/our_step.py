"""Our train step as the loop runs it, for benchmarks."""

from collections.abc import Callable

import jax
import numpy as np

from tpu_lm.data import packing
from tpu_lm.feeding import Feed
from tpu_lm.guard import slot_keepers
from tpu_lm.optimizers.offload import placed
from tpu_lm.phase import Phase, Run
from tpu_lm.sharding import state_shardings
from tpu_lm.state import TrainState, init_state
from tpu_lm.step import make_train_step


class OurStep:
  """The first phase's step: jitted, its state donated, on the run's mesh.

  Attributes:
    state: after the steps taken so far.

  Args:
    run: the run.
    optimizer: instead of the phase's, made.
    schedule: instead of the phase's: step i32[] -> learning rate f32[].
  """

  def __init__(
    self, run: Run, optimizer=None, schedule: Callable | None = None
  ):
    phase, self._mesh = run.phases[0], run.mesh.make()
    optimizer = optimizer or phase.optimizer.make(run.model.axes())

    def fresh() -> TrainState:
      key = jax.random.key(run.seed)
      return init_state(run.model, optimizer, slot_keepers(phase), key)

    with jax.set_mesh(self._mesh):
      shapes = jax.eval_shape(fresh)
      axes = run.model.axes()
      places = state_shardings(self._mesh, axes, shapes.params, shapes)
      places = placed(phase.optimizer, places, shapes)
      self.state = jax.jit(fresh, out_shardings=places)()
      self._feed = Feed(self._mesh, phase.batch_size)
      step = make_train_step(
        run.model,
        phase.objective,
        optimizer,
        schedule or phase.curve(None),
        start_step=0,
        seed=run.seed,
        sources=1,
        methods=phase.methods,
        micro_batches=phase.micro_batches,
      )
      self.program = jax.jit(
        phase.guard.around(step) if phase.guard else step,
        donate_argnums=0,
        out_shardings=(places, jax.P()),
      )

  def __call__(self, batch: dict[str, np.ndarray]) -> dict:
    """Takes a step without waiting for it; its report."""
    with jax.set_mesh(self._mesh):
      self.state, report = self.program(self.state, self._feed.place(batch))
    return report

  def wait(self) -> None:
    """Until the state is there."""
    jax.block_until_ready(self.state)


def random_batch(
  phase: Phase, vocabulary: int, seed: int, documents: int = 1
) -> dict[str, np.ndarray]:
  """Random tokens in rows of some documents of the same length.

  Args:
    phase: has the size of a batch.
    vocabulary: V; ids are below it.
    seed: of the tokens.
    documents: in each row, at most its tokens.

  Returns:
    A decoder's batch, see `shapes.BATCH_KEYS`.
  """
  rows, length = phase.batch_size, phase.sequence_length
  shape = rows, length + 1
  tokens = np.random.default_rng(seed).integers(0, vocabulary, shape)
  places = np.arange(1, documents) * length // documents
  starts = np.repeat(np.arange(rows), len(places)), np.tile(places, rows)
  batch = packing.causal(tokens, starts)
  return batch | {'source': np.zeros(rows, np.int32)}
