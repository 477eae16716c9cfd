"""What becomes of the optimizer's state when a child phase begins."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from tpu_lm.checks import UserError, nearest, require
from tpu_lm.optimizers.adam import AdamState
from tpu_lm.tree import Tree, differences

_KEY = 'Phase.optimizer_state'
# Where each kind of state keeps its first moment.
_FIRST_MOMENT = {
  AdamState: 'mu',
  optax.ScaleByLionState: 'mu',
  optax.TraceState: 'trace',
  contrib.MuonState: 'mu',
}


def carry(policy: str, parent: Tree, fresh: Tree) -> Tree:
  """The optimizer state that a child phase begins with.

  The policies:

    keep                  the parent's.
    reset                 `fresh`, as Ibrahim et al. 2024 (arXiv 2403.08763)
                          do between datasets.
    reset_first_moment    the parent's with momenta at zero: the old data's
                          direction is forgotten, its scale is kept. The count
                          is kept as well, so the direction grows from zero,
                          a warm-up of about 1 / (1 - b1) steps.
    rewarm_second_moment  the parent's estimates of both of Adam's moments,
                          weighted as if they came from few updates, so that
                          new gradients soon outweigh them. See below.

  Decay rates in the state are always the child's, as they describe its
  optimizer.

  Adam keeps m = (1 - b^t) m_hat, where m_hat is the unbiased estimate. To
  re-warm, t becomes c = round(1 / (1 - b1)), the length of the first moment's
  memory, or stays if it is less; and m becomes (1 - b^c) m_hat, for both
  moments. The estimates are as they were, so the next direction is as good as
  before; but after k updates the old ones have the weight
  b^k (1 - b^c) / (1 - b^(c + k)) where keeping them leaves about b^k.

  It is pure, works on concrete arrays and under jit, and costs no second copy
  if `fresh` is made inside the jitted function.

  Args:
    policy: one of the above.
    parent: the optimizer state of the parent's checkpoint.
    fresh: what the child's optimizer begins with by itself.

  Returns:
    A state with the structure of `fresh`.

  Raises:
    UserError: the policy is unknown, the optimizer has nothing that it is
      about, or the two states differ in structure or shapes.
  """
  hint = nearest(str(policy), POLICIES)
  require(policy in POLICIES, _KEY, policy, f'is not a policy.{hint}')
  if policy == 'reset':
    return fresh
  _check_same(policy, parent, fresh)
  return _POLICIES[policy](parent, fresh)


def _keep(parent: Tree, fresh: Tree) -> Tree:
  return _map_states(
    AdamState,
    lambda old, new: old._replace(b1=new.b1, b2=new.b2),
    parent,
    fresh,
  )


def _reset_first_moment(parent: Tree, fresh: Tree) -> Tree:
  kinds = tuple(_FIRST_MOMENT)
  _check_has('reset_first_moment', kinds, 'momentum', parent)

  def reset(old, new):
    field = _FIRST_MOMENT[type(old)]
    return old._replace(**{field: getattr(new, field)})

  return _map_states(kinds, reset, _keep(parent, fresh), fresh)


def _rewarm_second_moment(parent: Tree, fresh: Tree) -> Tree:
  what = 'first and second moments whose bias is corrected, as Adam does'
  _check_has('rewarm_second_moment', AdamState, what, parent)

  def rewarm(old: AdamState, new: AdamState) -> AdamState:
    memory = jnp.round(1 / (1 - new.b1)).astype(old.count.dtype)
    count = jnp.minimum(old.count, memory)

    def rescale(moment, old_rate, new_rate):
      # A parent that took no step has moments of zero and no estimate.
      bias = 1 - old_rate ** jnp.maximum(old.count, 1)
      factor = (1 - new_rate**count) / bias
      return jax.tree.map(lambda m: (m * factor).astype(m.dtype), moment)

    return AdamState(
      b1=new.b1,
      b2=new.b2,
      count=count,
      mu=rescale(old.mu, old.b1, new.b1),
      nu=rescale(old.nu, old.b2, new.b2),
    )

  return _map_states(AdamState, rewarm, parent, fresh)


_POLICIES = {
  'keep': _keep,
  'reset': lambda parent, fresh: fresh,
  'reset_first_moment': _reset_first_moment,
  'rewarm_second_moment': _rewarm_second_moment,
}
POLICIES = tuple(_POLICIES)


def _map_states(
  kinds: type | tuple[type, ...],
  function: Callable[[Any, Any], Any],
  parent: Tree,
  fresh: Tree,
) -> Tree:
  """The parent's tree, `function` applied to states of the given kinds."""

  def is_kind(value):
    return isinstance(value, kinds)

  return jax.tree.map(
    lambda old, new: function(old, new) if is_kind(old) else old,
    parent,
    fresh,
    is_leaf=is_kind,
  )


def _check_has(
  policy: str, kinds: type | tuple[type, ...], what: str, state: Tree
) -> None:
  leaves = jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, kinds))
  good = any(isinstance(leaf, kinds) for leaf in leaves)
  require(good, _KEY, policy, f"the optimizer's state has no {what}")


def _check_same(policy: str, parent: Tree, fresh: Tree) -> None:
  lines = differences(parent, fresh)
  same = jax.tree.structure(parent) == jax.tree.structure(fresh)
  if lines or not same:
    shown = '; '.join(lines[:3]) or 'their kinds'
    more = f'; and {len(lines) - 3} more' if len(lines) > 3 else ''
    raise UserError(
      f"{_KEY} = {policy!r}: the parent's optimizer state (the first) and the "
      f"child's (the second) differ in {shown}{more}. Use 'reset' to begin "
      'afresh'
    )
