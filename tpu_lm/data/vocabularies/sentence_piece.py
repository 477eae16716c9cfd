"""SentencePiece models (Kudo and Richardson 2018, arXiv:1808.06226)."""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tpu_lm.checks import UserError, require
from tpu_lm.data.vocabularies import model_file
from tpu_lm.data.vocabularies.stretches import SPACE, Stretches, stretches_of

KEY = 'SentencePiece.path'


@dataclasses.dataclass(frozen=True)
class SentencePiece:
  """The tokens of a SentencePiece model, as the model numbers them.

  A model of `train_sentence_piece` gives back every text as it was. Other
  models may normalise: their own rules hold. Texts of over 2,000 characters
  are encoded in stretches, see `stretches.py`: a unigram model may then split
  a word otherwise than SentencePiece by itself would, where two splits have
  the same score to within its rounding. U+2581 comes back, too, from models
  that otherwise would make a space of it.

  Attributes:
    path: of the .model file; also a URL.
  """

  path: str

  def __post_init__(self):
    good = isinstance(self.path, str) and self.path != ''
    require(good, KEY, self.path, 'must be the path or URL of a .model file')

  @property
  def size(self) -> int:
    """The model's number of pieces."""
    return self._model.processor.get_piece_size()

  @property
  def end(self) -> int:
    """The model's end of sentence; UserError if it has none."""
    end = self._model.processor.eos_id()
    if end < 0:
      raise UserError(
        f'{KEY} = {self.path!r}: the model has no end token (eos): documents'
        ' could not be told apart. Train one with an eos_id'
      )
    return end

  @property
  def pad(self) -> int:
    """The model's padding; the end token if it has none."""
    pad = self._model.processor.pad_id()
    return pad if pad >= 0 else self.end

  def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
    """See `Vocabulary.encode`."""
    model = self._model
    cut = [model.stretches.cut(text) for text in texts]
    stretches = [*itertools.chain.from_iterable(cut)]
    encoded = model.processor.encode(
      [stretch.encode() for stretch in stretches], out_type=int, num_threads=1
    )
    if model.stretches.spell:
      for i, stretch in enumerate(stretches):
        if stretch == SPACE:
          encoded[i] = model.stretches.spell
    rest = iter(encoded)
    return [_join(itertools.islice(rest, len(parts))) for parts in cut]

  def decode(self, tokens: np.ndarray) -> str:
    """See `Vocabulary.decode`."""
    processor = self._model.processor
    skipped = {processor.eos_id(), processor.pad_id()}
    size = processor.get_piece_size()
    return processor.decode(
      [
        token
        for token in np.asarray(tokens).tolist()
        if 0 <= token < size and token not in skipped
      ]
    )

  def describe(self) -> dict[str, str]:
    """See `Vocabulary.describe`."""
    name = model_file.name(self.path)
    return {
      'description': f'SentencePiece {self._model.kind}, {self.size} tokens,'
      f' {name}',
      'hash': self._model.hash,
    }

  @property
  def _model(self) -> '_Model':
    return _load(self.path, model_file.stamp(self.path))


@dataclasses.dataclass(frozen=True)
class _Model:
  processor: Any
  kind: str
  hash: str
  stretches: Stretches


def _join(parts: Any) -> np.ndarray:
  return np.array([*itertools.chain.from_iterable(parts)], np.int32)


@functools.cache
def _load(path: str, stamp: tuple[int, int] | None) -> _Model:
  del stamp  # tells files apart that replaced each other
  import sentencepiece
  from google.protobuf.message import DecodeError
  from sentencepiece import sentencepiece_model_pb2

  data = model_file.read(KEY, path)
  processor = sentencepiece.SentencePieceProcessor()
  try:
    model = sentencepiece_model_pb2.ModelProto.FromString(data)
    if not all(isinstance(piece.piece, str) for piece in model.pieces):
      raise DecodeError('a piece is not UTF-8')
    _keep_out_of_texts(model)
    processor.LoadFromSerializedProto(model.SerializeToString())
  except (DecodeError, RuntimeError, UnicodeDecodeError) as error:
    raise UserError(f'{KEY} = {path!r}: no SentencePiece model') from error
  trainer = model.trainer_spec
  return _Model(
    processor,
    trainer.ModelType.Name(trainer.model_type).lower(),
    model_file.digest('sentencepiece', data),
    stretches_of(model),
  )


def _keep_out_of_texts(model: Any) -> None:
  """Sees to it that no text is read as the end or the padding.

  Pieces that a user defined are looked for in texts, and these two may have
  been defined so.
  """
  names = {model.trainer_spec.eos_piece, model.trainer_spec.pad_piece}
  for piece in model.pieces:
    if piece.piece in names and piece.type == piece.USER_DEFINED:
      piece.type = piece.CONTROL
