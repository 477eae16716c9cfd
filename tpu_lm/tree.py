"""Trees of arrays: named paths, regex masks that must match, differences.

Parameters are nested dicts everywhere outside `blocks/` and `models/`, so a
leaf has a name such as `layers/attention/query`.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax

from tpu_lm.checks import UserError, nearest

Tree = Any
IsLeaf = Callable[[Any], bool] | None


def is_axes(value: Any) -> bool:
  """Whether `value` is a leaf of an axes tree: a tuple of axis names."""
  return type(value) is tuple and all(isinstance(name, str) for name in value)


def path_name(path: tuple[Any, ...]) -> str:
  """The 'a/b/c' name of a jax key path."""
  return jax.tree_util.keystr(path, simple=True, separator='/')


def named_paths(tree: Tree, is_leaf: IsLeaf = None) -> dict[str, Any]:
  """Leaves by 'a/b/c' name, in tree order."""
  leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_leaf)
  return {path_name(path): leaf for path, leaf in leaves}


def nested(leaves: dict[str, Any]) -> Tree:
  """Nested dicts of leaves by 'a/b/c' name: the inverse of `named_paths`."""
  tree: Tree = {}
  for name, leaf in leaves.items():
    *folders, last = name.split('/')
    inner = tree
    for folder in folders:
      inner = inner.setdefault(folder, {})
    inner[last] = leaf
  return tree


def map_named(
  function: Callable[..., Any], tree: Tree, *rest: Tree, is_leaf: IsLeaf = None
) -> Tree:
  """`jax.tree.map` whose function is given the leaf's name first."""
  return jax.tree_util.tree_map_with_path(
    lambda path, *leaves: function(path_name(path), *leaves),
    tree,
    *rest,
    is_leaf=is_leaf,
  )


def mask(
  tree: Tree, patterns: Sequence[str], key: str, is_leaf: IsLeaf = None
) -> Tree:
  """True where any pattern is found in the leaf's name.

  Args:
    tree: any tree.
    patterns: regular expressions, searched (not anchored) in 'a/b/c' names.
    key: the gin key of the patterns, for the error.
    is_leaf: as in `jax.tree.map`.

  Returns:
    A tree of bool of the same structure.

  Raises:
    UserError: a pattern is not a regular expression, or matches nothing: a
      mask that silently covers nothing is a mistake that costs a run.
  """
  names = named_paths(tree, is_leaf)
  for pattern in patterns:
    try:
      matched = any(re.search(pattern, name) for name in names)
    except re.error as error:
      raise UserError(
        f'{key}: {pattern!r} is not a regular expression: {error}'
      ) from None
    if not matched:
      raise UserError(
        f'{key}: {pattern!r} matches no path.{nearest(pattern, names)}'
      )
  return map_named(
    lambda name, _: any(re.search(pattern, name) for pattern in patterns),
    tree,
    is_leaf=is_leaf,
  )


def count(tree: Tree) -> int:
  """Number of elements in all leaves."""
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


def differences(left: Tree, right: Tree) -> list[str]:
  """What differs in names, shapes and dtypes, one line each; [] if nothing."""
  left, right = named_paths(left), named_paths(right)
  lines = [f'{name}: only in the first' for name in left if name not in right]
  lines += [f'{name}: only in the second' for name in right if name not in left]
  for name in left.keys() & right.keys():
    a, b = left[name], right[name]
    if (a.shape, a.dtype) != (b.shape, b.dtype):
      lines.append(f'{name}: {a.dtype}{a.shape} against {b.dtype}{b.shape}')
  return sorted(lines)
