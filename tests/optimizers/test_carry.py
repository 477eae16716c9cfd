"""The optimizer's state on entering a child phase."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tpu_lm.checks import UserError
from tpu_lm.optimizers.adafactor import Adafactor
from tpu_lm.optimizers.adamw import AdamW
from tpu_lm.optimizers.carry import POLICIES, carry
from tpu_lm.optimizers.lion import Lion
from tpu_lm.optimizers.muon import Muon
from tpu_lm.optimizers.sgd import SGD
from tpu_lm.tree import named_paths

HALVES = AdamW(first_moment='bfloat16', second_moment='bfloat16')


@pytest.fixture
def axes():
  return {'mlp': {'up': ('embed', 'mlp')}, 'norm': ('embed',)}


@pytest.fixture
def states(axes, params, gradients, descend):
  """Optimizers of parent and child to the (parent, fresh) states."""

  def make(parent, child, steps=5):
    _, state = descend(parent.make(axes), params, gradients[:steps], 1e-2)
    return state, child.make(axes).init(params)

  return make


def adam_of(state):
  return state['direction']


def estimates(state):
  """The unbiased moments."""
  adam = adam_of(state)
  count = float(adam.count)
  return [
    jax.tree.map(lambda m, b=b: m / (1 - float(b) ** count), moment)
    for moment, b in ((adam.mu, adam.b1), (adam.nu, adam.b2))
  ]


def same(one, other, **tolerance):
  tolerance = tolerance or {'rtol': 0}
  assert jax.tree.structure(one) == jax.tree.structure(other)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, **tolerance), one, other
  )


def test_keep_and_reset(states):
  parent, fresh = states(AdamW(), AdamW())
  same(carry('keep', parent, fresh), parent)
  same(carry('reset', parent, fresh), fresh)


def test_decay_rates_are_the_childs(states):
  parent, fresh = states(AdamW(b2=0.95), AdamW(b2=0.99))
  kept = adam_of(carry('keep', parent, fresh))
  assert float(kept.b2) == np.float32(0.99)
  same(kept.nu, adam_of(parent).nu)


def test_clipping_and_decay_may_change(states):
  child = AdamW(clip=None, weight_decay=0.0, multipliers={'mlp': 0.5})
  parent, fresh = states(AdamW(), child)
  same(carry('keep', parent, fresh), parent)


@pytest.mark.parametrize('optimizer', [AdamW(), HALVES, Lion(), Muon(), SGD()])
def test_reset_first_moment(optimizer, states):
  parent, fresh = states(optimizer, optimizer)
  before, after = (
    named_paths(tree)
    for tree in (parent, carry('reset_first_moment', parent, fresh))
  )
  momenta = [path for path in before if 'mu/' in path or 'trace/' in path]
  assert momenta
  for path, leaf in after.items():
    expected = jnp.zeros_like(leaf) if path in momenta else before[path]
    np.testing.assert_array_equal(leaf, expected, err_msg=path)


@pytest.mark.parametrize('b1, memory', [(0.5, 2), (0.75, 4), (0.9, 5)])
def test_rewarm_keeps_the_estimates(b1, memory, states):
  optimizer = AdamW(b1=b1, b2=0.99)
  parent, fresh = states(optimizer, optimizer)
  state = carry('rewarm_second_moment', parent, fresh)
  # Five updates were seen: a memory of ten is not longer than that.
  assert int(adam_of(state).count) == memory
  same(estimates(state), estimates(parent), rtol=2e-5)


def dtypes(state):
  return jax.tree.map(lambda leaf: leaf.dtype, state)


def test_rewarm_keeps_what_moments_are_kept_in(states):
  parent, fresh = states(HALVES, HALVES)
  state = carry('rewarm_second_moment', parent, fresh)
  assert dtypes(state) == dtypes(fresh)
  same(estimates(state), estimates(parent), rtol=1e-2)


def test_rewarm_in_numbers(states):
  """After k updates the old second moment has the weight it should have."""
  optimizer = AdamW(b1=0.5, b2=0.9)
  parent, fresh = states(optimizer, optimizer)
  parent['direction'] = adam_of(parent)._replace(count=jnp.int32(1000))
  state = carry('rewarm_second_moment', parent, fresh)
  (_, old), later = estimates(parent), adam_of(state)
  for _ in range(3):  # three updates with gradients of one
    nu = jax.tree.map(lambda n: 0.9 * n + 0.1, later.nu)
    later = later._replace(count=later.count + 1, nu=nu)
  _, new = estimates({'direction': later})
  weight = 0.9**3 * (1 - 0.9**2) / (1 - 0.9**5)
  assert weight < 0.35 < 0.9**3
  expected = jax.tree.map(lambda o: weight * o + (1 - weight), old)
  same(new, expected, rtol=1e-5)


def test_rewarm_into_other_decay_rates(states):
  parent, fresh = states(AdamW(b1=0.9, b2=0.95), AdamW(b1=0.75, b2=0.999))
  state = carry('rewarm_second_moment', parent, fresh)
  assert int(adam_of(state).count) == 4
  same(estimates(state), estimates(parent), rtol=1e-4)


def test_rewarm_of_a_parent_that_took_no_step(states):
  parent, fresh = states(AdamW(), AdamW(), steps=0)
  same(carry('rewarm_second_moment', parent, fresh), fresh)


def test_rewarm_reaches_the_adam_inside_muon(states):
  parent, fresh = states(Muon(b1=0.5), Muon(b1=0.5))
  before = named_paths(parent)
  after = named_paths(carry('rewarm_second_moment', parent, fresh))
  changed = {path for path in after if (after[path] != before[path]).any()}
  assert changed and all('/adam/' in path for path in changed)


@pytest.mark.parametrize('policy', POLICIES)
def test_jit_equals_eager(policy, states):
  parent, fresh = states(AdamW(b1=0.5), AdamW(b1=0.5))
  jitted = jax.jit(carry, static_argnums=0)(policy, parent, fresh)
  same(jitted, carry(policy, parent, fresh), rtol=1e-6)


@pytest.mark.parametrize(
  'policy, optimizer, missing',
  [
    ('reset_first_moment', Adafactor(), 'no momentum'),
    ('reset_first_moment', SGD(momentum=0), 'no momentum'),
    ('rewarm_second_moment', Adafactor(), 'no first and second moments'),
    ('rewarm_second_moment', Lion(), 'no first and second moments'),
    ('rewarm_second_moment', SGD(), 'no first and second moments'),
  ],
)
def test_a_policy_the_optimizer_has_nothing_for(
  policy, optimizer, missing, states
):
  parent, fresh = states(optimizer, optimizer)
  with pytest.raises(UserError, match=f'Phase.optimizer_state.*{missing}'):
    carry(policy, parent, fresh)


@pytest.mark.parametrize('policy', POLICIES)
def test_another_optimizer_can_only_reset(policy, states):
  parent, fresh = states(AdamW(), Lion())
  if policy == 'reset':
    same(carry(policy, parent, fresh), fresh)
    return
  with pytest.raises(UserError, match='direction/b1: only in the first'):
    carry(policy, parent, fresh)


def test_other_shapes_are_told(states, axes, params):
  parent, _ = states(AdamW(), AdamW())
  wider = params | {'norm': jnp.zeros(9)}
  fresh = AdamW().make(axes).init(wider)
  with pytest.raises(UserError, match=r'direction/mu/norm: .*\(8,\)'):
    carry('keep', parent, fresh)


def test_same_arrays_of_another_kind_are_told(states):
  parent, fresh = states(AdamW(), AdamW())
  parent['direction'] = adam_of(parent)._asdict()
  with pytest.raises(UserError, match='their kinds'):
    carry('keep', parent, fresh)


def test_an_unknown_policy_is_told(states):
  parent, fresh = states(AdamW(), AdamW())
  with pytest.raises(UserError, match='Did you mean: keep'):
    carry('kept', parent, fresh)
