"""Named paths, masks that must match, differences."""

import jax
import numpy as np
import pytest

from tpu_lm import tree
from tpu_lm.checks import UserError, nearest

TREE = {'a': {'kernel': np.ones((2, 3)), 'scale': np.ones(3)}, 'b': np.ones(1)}


def test_named_paths():
  assert list(tree.named_paths(TREE)) == ['a/kernel', 'a/scale', 'b']


def test_nested_is_the_way_back():
  back = tree.nested(tree.named_paths(TREE))
  assert jax.tree.structure(back) == jax.tree.structure(TREE)
  assert back['a']['scale'] is TREE['a']['scale']


def test_mask_covers_what_matches():
  got = tree.mask(TREE, ['kernel$', '^b'], 'Key')
  assert got == {'a': {'kernel': True, 'scale': False}, 'b': True}


@pytest.mark.parametrize(
  ('pattern', 'message'),
  [
    ('kernal', r'Key: .kernal. matches no path.*a/kernel'),
    ('(', r'Key: .\(. is not a regular expression'),
  ],
)
def test_mask_must_match(pattern, message):
  with pytest.raises(UserError, match=message):
    tree.mask(TREE, ['b', pattern], 'Key')


def test_axes_leaves():
  axes = {'a': ('embed', 'mlp'), 'b': ()}
  assert tree.named_paths(axes, tree.is_axes) == {
    'a': ('embed', 'mlp'),
    'b': (),
  }
  assert not tree.is_axes((1, 2))


def test_count_and_differences():
  assert tree.count(TREE) == 10
  other = {'a': {'kernel': np.ones((2, 4))}, 'c': np.ones(1), 'b': np.ones(1)}
  assert tree.differences(TREE, TREE) == []
  assert tree.differences(TREE, other) == [
    'a/kernel: float64(2, 3) against float64(2, 4)',
    'a/scale: only in the first',
    'c: only in the second',
  ]
  assert tree.differences(jax.eval_shape(lambda: TREE), TREE) != []  # float32


def test_nearest():
  assert (
    nearest('schedul', ['schedule', 'mixture']) == ' Did you mean: schedule?'
  )
  assert nearest('zzz', ['b', 'a']) == ' Known: a, b'
  assert nearest('zzz', []) == ''
