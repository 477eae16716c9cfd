"""Our directions times the learning rate are optax's whole optimizers."""

import jax
import numpy as np
import optax
import pytest
from optax import contrib

from tpu_lm.optimizers.adafactor import Adafactor
from tpu_lm.optimizers.adamw import AdamW
from tpu_lm.optimizers.common import is_matrix
from tpu_lm.optimizers.lion import Lion
from tpu_lm.optimizers.muon import Muon
from tpu_lm.optimizers.sgd import SGD
from tpu_lm.tree import is_axes, named_paths

RATE = 1e-2
DECAY = 0.1


def optax_descend(optimizer, params, gradients):
  state, update = optimizer.init(params), jax.jit(optimizer.update)
  for gradient in gradients:
    updates, state = update(gradient, state, params)
    params = optax.apply_updates(params, updates)
  return params


@pytest.mark.parametrize(
  'ours, theirs',
  [
    (
      AdamW(b1=0.8, b2=0.99, eps=1e-6, weight_decay=DECAY),
      lambda mask: optax.adamw(
        RATE, 0.8, 0.99, 1e-6, weight_decay=DECAY, mask=mask
      ),
    ),
    (
      Lion(b1=0.95, b2=0.98, weight_decay=DECAY),
      lambda mask: optax.lion(RATE, 0.95, 0.98, weight_decay=DECAY, mask=mask),
    ),
    (SGD(momentum=0.9), lambda mask: optax.sgd(RATE, 0.9)),
    (
      SGD(momentum=0.9, nesterov=True),
      lambda mask: optax.sgd(RATE, 0.9, nesterov=True),
    ),
    (SGD(momentum=0.0), lambda mask: optax.sgd(RATE)),
  ],
  ids=['adamw', 'lion', 'sgd', 'sgd nesterov', 'sgd plain'],
)
def test_elementwise(ours, theirs, axes, params, gradients, descend):
  mask = jax.tree.map(is_matrix, axes, is_leaf=is_axes)
  reference = optax.chain(optax.clip_by_global_norm(1.0), theirs(mask))
  expected = optax_descend(reference, params, gradients)
  actual, _ = descend(ours.make(axes), params, gradients, RATE)
  compare(actual, expected, atol=1e-7)


@pytest.mark.parametrize('factor_from', [4, 128])
@pytest.mark.parametrize('relative', [True, False])
def test_adafactor(factor_from, relative, params, gradients, descend):
  """On parameters that are not stacks: optax does not know of stacks."""
  names = ('embedding', 'final_norm')
  axes = {'embedding': ('vocab', 'embed'), 'final_norm': ('embed',)}
  params = {name: params[name] for name in names}
  gradients = [{name: g[name] for name in names} for g in gradients]
  ours = Adafactor(
    clip=None, weight_decay=DECAY, factor_from=factor_from, relative=relative
  )
  theirs = optax.adafactor(
    RATE,
    factor_from,
    multiply_by_parameter_scale=relative,
    # optax does not multiply this by the learning rate.
    weight_decay_rate=RATE * DECAY,
    weight_decay_mask={'embedding': True, 'final_norm': False},
  )
  actual, _ = descend(ours.make(axes), params, gradients, RATE)
  compare(actual, optax_descend(theirs, params, gradients), atol=1e-7)


def test_muon(axes, params, gradients, descend):
  """Matrices are optax's Muon, the rest optax's AdamW."""
  sides = {
    'query': contrib.MuonDimensionNumbers((1,), (2, 3)),
    'key_bias': None,
    'out': contrib.MuonDimensionNumbers((1, 2), (3,)),
  }
  linear = contrib.MuonDimensionNumbers((1,), (2,))
  dimensions = {
    'embedding': None,
    'layers': {
      'attention': sides,
      'mlp': {'up': linear, 'down': linear},
      'norm': None,
    },
    'final_norm': None,
  }
  muon = contrib.muon(
    RATE,
    weight_decay=DECAY,
    muon_weight_dimension_numbers=dimensions,
    consistent_rms=0.2,
  )
  mask = jax.tree.map(is_matrix, axes, is_leaf=is_axes)
  adamw = optax.adamw(RATE, 0.9, 0.95, weight_decay=DECAY, mask=mask)
  by_muon = named_paths(optax_descend(muon, params, gradients))
  by_adamw = named_paths(optax_descend(adamw, params, gradients))

  ours = Muon(clip=None, weight_decay=DECAY)
  actual, _ = descend(ours.make(axes), params, gradients, RATE)
  for path, leaf in named_paths(actual).items():
    matrix = path.startswith(('layers/attention', 'layers/mlp'))
    matrix = matrix and not path.endswith('bias')
    expected = by_muon[path] if matrix else by_adamw[path]
    np.testing.assert_allclose(leaf, expected, rtol=0, atol=1e-7, err_msg=path)


def test_muon_gives_matrices_one_size_whatever_their_shape(
  axes, params, gradients
):
  optimizer = Muon(weight_decay=0.0).make(axes)
  direction, _ = optimizer.update(gradients[0], optimizer.init(params), params)
  for leaf in direction['layers']['mlp'].values():
    for layer in leaf:
      # Five Newton-Schulz iterations leave singular values in 0.7 to 1.2, and
      # the narrow side of a matrix has fewer of them than the wide one.
      assert 0.12 < float((layer**2).mean() ** 0.5) < 0.25


def compare(actual, expected, **tolerance):
  expected = named_paths(expected)
  for path, leaf in named_paths(actual).items():
    np.testing.assert_allclose(
      leaf, expected[path], rtol=0, err_msg=path, **tolerance
    )
