"""Vocabularies of tpu_lm for seqio's Tasks, and seqio's told to tpu_lm."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from tpu_lm.data.vocabularies import Vocabulary, model_file
from tpu_lm.data.vocabularies.bytes import Bytes
from tpu_lm.data.vocabularies.sentence_piece import SentencePiece

PROBE = 'The quick brown fox: 0123456789 äöü ЖЩ 漢字 \U0001f600\n\t{}[]()<>'


class SeqioVocabulary(seqio.Vocabulary):
  """A vocabulary of tpu_lm, as seqio wants one.

  Inside of a tf.data pipeline it runs as Python, one call at a time: right for
  building stores, not for reading data while training.

  Attributes:
    vocabulary: the one of tpu_lm.
  """

  def __init__(self, vocabulary: Vocabulary):
    super().__init__(extra_ids=0)
    self.vocabulary = vocabulary

  @property
  def bos_id(self) -> None:
    """None: documents have an end only."""

  @property
  def eos_id(self) -> int:
    """The end token."""
    return self.vocabulary.end

  @property
  def pad_id(self) -> int:
    """The token that fills up rows."""
    return self.vocabulary.pad

  @property
  def unk_id(self) -> None:
    """None: seqio would put it for numbers too high, which decode to ''."""

  @property
  def _base_vocab_size(self) -> int:
    return self.vocabulary.size

  def _encode(self, s: str | bytes) -> list[int]:
    text = s.decode() if isinstance(s, bytes) else s
    return self.vocabulary.encode([text])[0].tolist()

  def _decode(self, ids: Sequence[int]) -> str:
    return self.vocabulary.decode(np.array([*ids], np.int64))

  def _encode_tf(self, s: tf.Tensor) -> tf.Tensor:
    """Encodes a scalar; int32[n]."""

    def encode(text: bytes | np.ndarray) -> np.ndarray:
      # An object array of no dimensions where TensorFlow runs eagerly.
      text = text.item() if isinstance(text, np.ndarray) else text
      return self.vocabulary.encode([text.decode()])[0]

    tokens = tf.numpy_function(encode, [s], tf.int32, stateful=False)
    return tf.ensure_shape(tokens, [None])

  def _decode_tf(self, ids: tf.Tensor) -> tf.Tensor:
    """Decodes int[..., n]; strings[...]."""

    def decode(tokens: np.ndarray) -> np.ndarray:
      texts = [
        self.vocabulary.decode(row).encode()
        for row in tokens.reshape(-1, tokens.shape[-1])
      ]
      return np.array(texts, object).reshape(tokens.shape[:-1])

    ids = tf.convert_to_tensor(ids)
    texts = tf.numpy_function(decode, [ids], tf.string, stateful=False)
    return tf.ensure_shape(texts, ids.shape[:-1])

  def __eq__(self, other: Any) -> bool:
    return (
      isinstance(other, SeqioVocabulary)
      and self.vocabulary.describe()['hash']
      == other.vocabulary.describe()['hash']
    )

  def __str__(self) -> str:
    return f'SeqioVocabulary({self.vocabulary!r})'


def identify(vocabulary: Any) -> dict[str, str]:
  """Describes a seqio vocabulary, as the one of tpu_lm that it equals.

  Args:
    vocabulary: of a seqio feature.

  Returns:
    'description' and 'hash' as of `Vocabulary.describe`. Where none of ours
    has the same tokens, the hash is of the class, the model and how a probe
    text with several scripts is encoded.
  """
  ours = _ours(vocabulary)
  if ours is not None:
    return ours.describe()
  name = f'{type(vocabulary).__module__}.{type(vocabulary).__qualname__}'
  facts = [
    name,
    vocabulary.vocab_size,
    vocabulary.eos_id,
    vocabulary.pad_id,
    list(vocabulary.encode(PROBE)),
  ]
  model = getattr(vocabulary, 'sp_model', None) or b''
  return {
    'description': f'{name}, {vocabulary.vocab_size} tokens',
    'hash': model_file.digest(repr(facts), model),
  }


def _ours(vocabulary: Any) -> Vocabulary | None:
  """The same tokens in tpu_lm; subclasses may do anything, so none for them."""
  if isinstance(vocabulary, SeqioVocabulary):
    return vocabulary.vocabulary
  if type(vocabulary) is seqio.ByteVocabulary and vocabulary.extra_ids == 0:
    return Bytes()
  if (
    type(vocabulary) is seqio.SentencePieceVocabulary
    and vocabulary.extra_ids == 0
    and vocabulary._normalizer_spec_overrides is None
    and not vocabulary._use_fast_tokenizer
  ):
    return SentencePiece(vocabulary.sentencepiece_model_file)
  return None
