"""What every method promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tpu_lm.checks import UserError
from tpu_lm.methods.freeze import Freeze
from tpu_lm.methods.l2_to_start import L2ToStart
from tpu_lm.objectives.cross_entropy import CrossEntropy
from tpu_lm.optimizers.adamw import AdamW
from tpu_lm.state import init_state
from tpu_lm.step import make_train_step
from tpu_lm.tree import named_paths

METHODS = {
  'freeze': Freeze(paths=('embedding',)),
  'l2_to_start': L2ToStart(strength=1.0),
}
MODEL = tiny.decoder()


def run(methods, steps=3, micro_batches=1):
  """The first state, and the last with its report."""
  optimizer = AdamW().make(MODEL.axes())
  state = first = init_state(MODEL, optimizer, methods, jax.random.key(0))
  step = jax.jit(
    make_train_step(
      MODEL,
      CrossEntropy(),
      optimizer,
      lambda _: jnp.float32(1e-2),
      start_step=0,
      seed=0,
      sources=1,
      methods=methods,
      micro_batches=micro_batches,
    )
  )
  for index in range(steps):
    state, report = step(state, tiny.batch(seed=index))
  return first, state, report


@pytest.mark.parametrize('method', METHODS.values(), ids=METHODS)
def test_trains_finitely_and_changes_something(method):
  _, plain, _ = run(())
  first, state, report = run((method,))
  assert np.isfinite(report['gradient_norm'])
  assert set(state.slots) == {method.name}
  for leaf in jax.tree.leaves(state):
    assert np.all(np.isfinite(leaf))
  plain, with_method = named_paths(plain.params), named_paths(state.params)
  assert any(np.any(plain[n] != with_method[n]) for n in plain)
  start = named_paths(first.params)
  assert any(np.any(start[n] != with_method[n]) for n in start)


@pytest.mark.parametrize('method', METHODS.values(), ids=METHODS)
def test_micro_batches_change_nothing(method):
  _, whole, _ = run((method,))
  _, parts, _ = run((method,), micro_batches=2)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4),
    whole.params,
    parts.params,
  )


def test_freeze_keeps_bits():
  first, state, _ = run((Freeze(paths=('embedding', 'scale$')),))
  was, now = named_paths(first.params), named_paths(state.params)
  for name in was:
    frozen = 'embedding' in name or name.endswith('scale')
    assert np.array_equal(was[name], now[name]) == frozen, name


def test_freeze_must_match():
  with pytest.raises(UserError, match=r'Freeze.paths.*embeding.*embedding'):
    run((Freeze(paths=('embeding/table',)),))


def test_l2_pulls_to_the_start():
  def distance(methods):
    first, state, _ = run(methods, steps=10)
    squares = jax.tree.map(
      lambda a, b: jnp.sum((a - b) ** 2), first.params, state.params
    )
    return sum(jax.tree.leaves(squares))

  assert distance((L2ToStart(strength=10.0),)) < 0.5 * distance(())


def test_l2_is_zero_with_zero_gradient_at_the_start():
  method, params = L2ToStart(), MODEL.init(jax.random.key(0))
  slot = method.init(params)
  loss, gradients = jax.value_and_grad(method.loss)(params, slot, None, None)
  assert loss == 0
  assert not any(np.any(g) for g in jax.tree.leaves(gradients))
