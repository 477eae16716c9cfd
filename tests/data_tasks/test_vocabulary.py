import pathlib
import pickle

import numpy as np
import pytest

from tpu_lm.data.vocabularies.bytes import Bytes
from tpu_lm.data.vocabularies.sentence_piece import SentencePiece
from tpu_lm.data.vocabularies.train import train_sentence_piece

TEXTS = ['Hello  world, 12\n\tüber', '', '</s> 漢字 \U0001f600']


@pytest.fixture(scope='module')
def wrapping():
  """The module under test; it imports seqio, which takes seconds."""
  from data_tasks import vocabulary

  return vocabulary


@pytest.fixture(scope='module')
def ours(tmp_path_factory):
  text = pathlib.Path(pathlib.__file__).read_text()
  folder = tmp_path_factory.mktemp('model')
  return {
    'bytes': Bytes(),
    'unigram': train_sentence_piece([text], folder / 'unigram', 400),
  }


@pytest.fixture(scope='module')
def theirs(ours):
  import seqio

  return {
    'bytes': seqio.ByteVocabulary(extra_ids=0),
    'unigram': seqio.SentencePieceVocabulary(ours['unigram'].path, 0),
  }


@pytest.mark.parametrize('name', ['bytes', 'unigram'])
def test_tokens_are_those_of_seqio(wrapping, ours, theirs, name):
  vocabulary = wrapping.SeqioVocabulary(ours[name])
  for text in TEXTS:
    tokens = theirs[name].encode(text)
    assert vocabulary.encode(text) == tokens
    assert vocabulary.decode(tokens) == text
    assert vocabulary.decode([*tokens, 1, *tokens]) == text
  assert vocabulary.vocab_size == theirs[name].vocab_size
  assert vocabulary.eos_id == theirs[name].eos_id
  assert vocabulary.pad_id == theirs[name].pad_id
  assert vocabulary.extra_ids == 0


@pytest.mark.parametrize('name', ['bytes', 'unigram'])
def test_tensors_are_encoded_alike(wrapping, ours, theirs, name):
  import tensorflow as tf

  vocabulary = wrapping.SeqioVocabulary(ours[name])
  for text in TEXTS:
    tokens = vocabulary.encode_tf(tf.constant(text))
    assert tokens.dtype == tf.int32
    assert tokens.numpy().tolist() == theirs[name].encode(text)
    assert vocabulary.decode_tf(tokens).numpy().decode() == text
  rows = tf.constant([[*vocabulary.encode('ab'), 1, 5], [1, 1, 1, 1]][:1] * 3)
  assert vocabulary.decode_tf(rows).numpy().tolist() == [b'ab'] * 3


def test_a_task_tokenises_with_it(wrapping, ours, theirs):
  import seqio
  import tensorflow as tf

  def examples(split, shuffle_files):
    return tf.data.Dataset.from_tensor_slices({'targets': TEXTS})

  def tokens(vocabulary):
    task = seqio.Task(
      'wrapped',
      seqio.FunctionDataSource(examples, splits=('train',)),
      {'targets': seqio.Feature(vocabulary)},
      [seqio.preprocessors.tokenize, seqio.preprocessors.append_eos],
    )
    dataset = task.get_dataset(None, 'train', shuffle=False)
    assert dataset.element_spec['targets'].shape.as_list() == [None]
    return [row['targets'].tolist() for row in dataset.as_numpy_iterator()]

  for name in 'bytes', 'unigram':
    found = tokens(wrapping.SeqioVocabulary(ours[name]))
    assert found == tokens(theirs[name])
    assert all(row[-1] == 1 for row in found)


def test_equal_ones_are_equal(wrapping, ours, theirs, tmp_path):
  path = tmp_path / 'copy'
  path.write_bytes(pathlib.Path(ours['unigram'].path).read_bytes())
  wrapped = wrapping.SeqioVocabulary(ours['unigram'])
  assert wrapped == wrapping.SeqioVocabulary(SentencePiece(str(path)))
  assert wrapped == pickle.loads(pickle.dumps(wrapped))
  assert wrapped != wrapping.SeqioVocabulary(ours['bytes'])
  assert wrapped != theirs['unigram']


def test_equal_ones_of_seqio_are_identified(wrapping, ours, theirs):
  for name, vocabulary in ours.items():
    described = vocabulary.describe()
    assert wrapping.identify(theirs[name]) == described
    assert wrapping.identify(wrapping.SeqioVocabulary(vocabulary)) == described


def test_others_are_told_apart(wrapping, ours, theirs):
  import seqio

  class Reversed(seqio.ByteVocabulary):
    def _encode(self, s):
      return super()._encode(s)[::-1]

  path = ours['unigram'].path
  others = [
    *theirs.values(),
    Reversed(extra_ids=0),
    seqio.ByteVocabulary(extra_ids=10),
    seqio.SentencePieceVocabulary(path, extra_ids=10),
    seqio.SentencePieceVocabulary(path, extra_ids=10, reverse_extra_ids=False),
    seqio.PassThroughVocabulary(size=400),
  ]
  described = [wrapping.identify(vocabulary) for vocabulary in others]
  assert len({facts['hash'] for facts in described}) == len(others)
  assert all(len(facts['hash']) == 32 for facts in described)
  assert described[3]['description'].endswith('ByteVocabulary, 269 tokens')
  again = wrapping.identify(seqio.ByteVocabulary(extra_ids=10))
  assert again == described[3]


def test_rows_of_any_shape_are_decoded(wrapping, ours):
  import tensorflow as tf

  vocabulary = wrapping.SeqioVocabulary(ours['bytes'])
  rows = np.array(vocabulary.encode('abcdefgh')).reshape(2, 2, 2)
  texts = vocabulary.decode_tf(tf.constant(rows, tf.int64))
  assert texts.numpy().tolist() == [[b'ab', b'cd'], [b'ef', b'gh']]
