"""How inputs and targets are laid out in rows, for each kind of model."""

import dataclasses
from typing import Any

import numpy as np

from tpu_lm.checks import nearest, require

DECODER = 'decoder'
PREFIX_DECODER = 'prefix_decoder'
ENCODER = 'encoder'
ENCODER_DECODER = 'encoder_decoder'
KINDS = (DECODER, PREFIX_DECODER, ENCODER, ENCODER_DECODER)


@dataclasses.dataclass(frozen=True)
class Layout:
  """The shape of a phase's rows.

  For inputs `a b` and targets `c d`, closed by the end mark `.`:

      decoder           inputs a b c d     targets b c d .   weights 0 1 1 1
      prefix_decoder    the same, and prefix 1 1 0 0: a and b see each other
      encoder_decoder   encoder_inputs a b .     inputs 0 c d   targets c d .

  An encoder has the text itself in both, hidden in the inputs.

  Attributes:
    length: tokens in a row; of the encoder's, where there is one.
    kind: of `KINDS`, the model's `layout`.
    target_length: tokens in a row of the decoder's, where there is an encoder;
      None: `length`.
    mask_documents: whether attention and loss stop at documents' ends. Text
      that becomes inputs and targets is one document to them, as in T5;
      whole examples beside an encoder are always apart.
  """

  length: int
  kind: str = DECODER
  target_length: int | None = None
  mask_documents: bool = True

  def __post_init__(self):
    length = self.length
    good = type(length) is int and length > 0
    require(good, 'sequence_length', length, 'must be an integer >= 1')
    hint = f'is not known.{nearest(str(self.kind), KINDS)}'
    require(self.kind in KINDS, 'layout', self.kind, hint)
    good = self.target_length is None or self.two_sided
    must = f'is for encoder-decoders; the model is of the kind {self.kind!r}'
    require(good, 'Phase.target_length', self.target_length, must)

  @classmethod
  def of(cls, phase: Any, model: Any) -> 'Layout':
    """What the rows of a phase are for a model."""
    return cls(
      length=phase.sequence_length,
      kind=model.layout,
      target_length=phase.target_length,
      mask_documents=phase.mask_documents,
    )

  def empty(self) -> dict[str, np.ndarray]:
    """A batch of one row of padding: what a model reads, to look at shapes."""
    sides = {'': self.targets}
    if self.two_sided:
      sides['encoder_'] = self.length
    keys = {
      f'{side}{key}': length
      for side, length in sides.items()
      for key in ('inputs', 'segments', 'positions')
    }
    if self.kind == PREFIX_DECODER:
      keys['prefix'] = self.length
    return {key: np.zeros((1, n), np.int32) for key, n in keys.items()}

  @property
  def targets(self) -> int:
    """Tokens in a row of what is predicted."""
    return self.target_length or self.length

  @property
  def two_sided(self) -> bool:
    """Whether encoder and decoder have rows of their own."""
    return self.kind == ENCODER_DECODER
