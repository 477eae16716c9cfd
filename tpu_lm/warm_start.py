"""A model that begins with parts of another: warm start."""

import dataclasses
from collections.abc import Mapping

from tpu_lm.checks import UserError, nearest, require
from tpu_lm.tree import Tree, named_paths


@dataclasses.dataclass(frozen=True)
class WarmStart:
  """Which parameters come from a parent whose model is another.

  An encoder that was trained on masked tokens becomes the encoder of an
  encoder-decoder by {'encoder': '', 'embedding': 'embedding'}: whatever the
  encoder-decoder has under encoder/ is taken from the parent's root, as far as
  the parent has a parameter of that name. All else is drawn afresh. With
  'decoder': '' besides, the decoder begins with the same layers, its
  cross-attention fresh (Rothe et al. 2020, "Leveraging Pre-trained Checkpoints
  for Sequence Generation Tasks", section 3, BERT2BERT).

  Attributes:
    take: path of parameters here to the path in the parent; '' is the root.
      Of two entries for one parameter the later holds.
  """

  take: Mapping[str, str]

  def __post_init__(self):
    good = isinstance(self.take, Mapping) and len(self.take) > 0
    good = good and all(
      isinstance(path, str) for pair in self.take.items() for path in pair
    )
    must = 'must map paths of parameters here to paths in the parent'
    require(good, 'WarmStart.take', self.take, must)
    take = {a.strip('/'): b.strip('/') for a, b in self.take.items()}
    object.__setattr__(self, 'take', take)

  def pairs(self, own: Tree, parents: Tree) -> dict[str, str]:
    """Names of the parameters that are taken, here to in the parent.

    Args:
      own: the model's parameters, or their shapes.
      parents: the parent's, likewise.

    Raises:
      UserError: an entry takes nothing, or a parameter of another shape.
    """
    here, there = named_paths(own), named_paths(parents)
    pairs: dict[str, str] = {}
    for path, parent_path in self.take.items():
      found = {
        name: match
        for name in here
        if (match := _moved(name, path, parent_path)) in there
      }
      if not found:
        raise UserError(
          f'WarmStart.take: nothing under {path!r} is in the parent under'
          f' {parent_path!r}.{nearest(path, here)}'
          f'{nearest(parent_path, there)}'
        )
      pairs |= found
    for name, match in pairs.items():
      if here[name].shape != there[match].shape:
        raise UserError(
          f'WarmStart.take: {name} is {here[name].shape} here, and {match} is'
          f' {there[match].shape} in the parent'
        )
    return pairs


def _moved(name: str, path: str, parent_path: str) -> str | None:
  """A name with one path put for another; None if it is not under it."""
  if path and name != path and not name.startswith(f'{path}/'):
    return None
  rest = name.removeprefix(path).lstrip('/')
  return '/'.join(part for part in (parent_path, rest) if part)
