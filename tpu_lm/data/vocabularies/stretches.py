"""Long texts for SentencePiece, cut where a cut changes no token.

Its BPE takes 60 bytes of memory for each character of a text, and gets slower
(8 MB: 6.1 s at once, 1.5 s in stretches). Its unigram models add up the scores
of a whole text in 32 bits, so which of two almost equal splits wins depends
on how much text came before, and on the version: 4 MB of a novel gave as many
results as lengths of stretch above 3,000 characters, and one below.
"""

import dataclasses
import re
from typing import Any

SPACE = '\u2581'  # how SentencePiece writes a space
LEAST = 2_000  # characters; longer ones are not faster
MOST = 32_000  # where nothing better is found, such as in DNA
# A run of spaces begins, or a line.
BEFORE_SPACES = r'(?<=[^ ])(?= )'
AFTER_A_LINE = r'(?<=\n)'
# A normaliser may join a space to signs beside it, but never to these.
BETWEEN_WORDS = r'(?<=[0-9A-Za-z])(?= [0-9A-Za-z])'
CROSSES_A_SPACE = re.compile(f'[^ {SPACE}][ {SPACE}]')


@dataclasses.dataclass(frozen=True)
class Stretches:
  """Where a model's texts may be cut.

  Attributes:
    place: matches, with no width, where a cut changes no token; None: none.
    drop: characters left out after a cut, as the model puts them back itself.
    anywhere: whether a cut elsewhere loses no text (it may change the tokens
      beside it); made where there is no better place in `MOST` characters.
    spell: the tokens of the bytes of U+2581 if it is to be spelled with them:
      the model would read it as a space.
  """

  place: re.Pattern[str] | None
  drop: int = 0
  anywhere: bool = False
  spell: tuple[int, ...] = ()

  def cut(self, text: str) -> list[str]:
    """Cuts a text; U+2581 is a stretch of its own if it is to be spelled."""
    if self.spell and SPACE in text:
      parts = re.split(f'({SPACE})', text)
      return [piece for part in parts for piece in self._cut(part)]
    return self._cut(text)

  def _cut(self, text: str) -> list[str]:
    if len(text) <= LEAST or self.place is None:
      return [text]
    stretches, start = [], 0
    while len(text) - start > LEAST:
      most = start + MOST if self.anywhere else len(text)
      found = self.place.search(text, start + LEAST, most)
      if found:
        at, after = found.start(), found.start() + self.drop
      elif most < len(text):
        at = after = most
      else:
        break
      stretches.append(text[start:at])
      start = after
    return [*stretches, text[start:]]


def stretches_of(model: Any) -> Stretches:
  """Finds out where texts of a model may be cut.

  A split decomposes before a space if no piece holds a space after another
  character: neither a unigram path nor a BPE merge crosses that place.

  Args:
    model: a `sentencepiece_model_pb2.ModelProto`.

  Returns:
    How its texts are cut; not at all where that can't be known to be safe.
  """
  rules = model.normalizer_spec
  pieces = [
    piece.piece
    for piece in model.pieces
    if piece.type in (piece.NORMAL, piece.USER_DEFINED, piece.UNUSED)
  ]
  if (
    SPACE not in pieces  # unknown characters are taken together
    or any(CROSSES_A_SPACE.search(piece) for piece in pieces)
    or model.trainer_spec.treat_whitespace_as_suffix
    or not rules.escape_whitespaces
  ):
    return Stretches(None)
  if rules.add_dummy_prefix:
    return Stretches(re.compile(BETWEEN_WORDS), drop=1)
  if rules.remove_extra_whitespaces:
    return Stretches(None)
  if rules.precompiled_charsmap:
    return Stretches(re.compile(BETWEEN_WORDS))
  lines = '' if any('\n' in piece for piece in pieces) else f'|{AFTER_A_LINE}'
  return Stretches(
    re.compile(BEFORE_SPACES + lines), anywhere=True, spell=_bytes(model)
  )


def _bytes(model: Any) -> tuple[int, ...]:
  """Tokens of the bytes of U+2581; none in a model without bytes."""
  tokens = {piece.piece: i for i, piece in enumerate(model.pieces)}
  names = [f'<0x{byte:02X}>' for byte in SPACE.encode()]
  if not model.trainer_spec.byte_fallback or not tokens.keys() >= {*names}:
    return ()
  return tuple(tokens[name] for name in names)
