"""The train step and the evaluation step."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from tpu_lm.accumulate import accumulate
from tpu_lm.state import Mean, Method, TrainState


def make_train_step(
  model,
  objective,
  optimizer,
  schedule: Callable,
  *,
  start_step: int,
  seed: int,
  sources: int,
  methods: Sequence[Method] = (),
  micro_batches: int = 1,
) -> Callable[[TrainState, dict], tuple[TrainState, dict]]:
  """A pure function (state, batch) -> (state, report); the caller jits it.

  Args:
    model: `apply(params, batch, rng)`.
    objective: (forward, batch, rng) -> (loss sum, row metrics, out).
    optimizer: `optax.GradientTransformation` giving a direction.
    schedule: phase step i32[] -> learning rate f32[].
    start_step: the step at which the phase began.
    seed: of the random keys; the step is folded in.
    sources: number of series that `batch['source']` counts.
    methods: applied in order.
    micro_batches: parts of the batch, run one after another.

  Returns:
    The step. Its report has `learning_rate` and `gradient_norm` (before
    clipping), f32[], and a `Mean` over f32[sources] for each metric of the
    objective.
  """

  def loss_sum(params, slots, batch, rng):
    viewed = params
    for method in methods:
      viewed = method.view(viewed, slots[method.name])
    forward = _forward(model, viewed, jax.random.fold_in(rng, 0))
    loss, metrics, out = objective(forward, batch, jax.random.fold_in(rng, 1))
    metrics = _by_source(metrics, batch['source'], sources)
    weight = jnp.sum(metrics['loss'].weight)
    for method in methods:
      # Means are weighted here because everything is divided at the end.
      extra = method.loss(viewed, slots[method.name], batch, out)
      loss += extra * weight
    return loss, metrics

  def train_step(state: TrainState, batch: dict):
    rng = jax.random.fold_in(jax.random.key(seed), state.step)
    gradients, metrics = accumulate(
      lambda params, micro, key: loss_sum(params, state.slots, micro, key),
      state.params,
      batch,
      rng,
      micro_batches,
    )
    weight = jnp.sum(metrics['loss'].weight)
    scale = 1.0 / jnp.where(weight > 0, weight, 1.0)
    gradients = jax.tree.map(lambda g: g * scale, gradients)
    gradient_norm = optax.tree.norm(gradients)
    for method in methods:
      slot = state.slots[method.name]
      gradients = method.grads(gradients, state.params, slot)

    direction, optimizer_state = optimizer.update(
      gradients, state.optimizer, state.params
    )
    learning_rate = schedule(state.step - start_step)
    params = jax.tree.map(
      lambda p, d: p - learning_rate * d, state.params, direction
    )
    slots = dict(state.slots)
    for method in methods:
      params, slots[method.name] = method.after(
        state.params, params, slots[method.name]
      )
    report = {
      'learning_rate': learning_rate,
      'gradient_norm': gradient_norm,
      'metrics': metrics,
    }
    return TrainState(state.step + 1, params, optimizer_state, slots), report

  return train_step


def make_eval_step(model, objective, series: int = 1) -> Callable:
  """A pure function (params, batch) -> `Mean` over f32[series] of each metric,
  counted by `batch['source']`; without dropout.
  """

  def eval_step(params, batch):
    rng = jax.random.key(0)
    _, metrics, _ = objective(_forward(model, params), batch, rng)
    return _by_source(metrics, batch['source'], series)

  return eval_step


def _forward(model, params, rng: jax.Array | None = None) -> Callable:
  return lambda batch: model.apply(params, batch, rng)


def _by_source(metrics: dict[str, Mean], source, sources: int) -> dict:
  """Sums row-wise f32[B] totals and weights over the rows of each source."""
  return jax.tree.map(
    lambda row: jax.ops.segment_sum(row, source, num_segments=sources), metrics
  )
