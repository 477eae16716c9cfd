import numpy as np
import pytest

from tests.data.helpers import counting_documents, tiny_corpus, tiny_store
from tpu_lm.checks import UserError
from tpu_lm.data.corpus import Corpus
from tpu_lm.data.layout import Layout
from tpu_lm.data.validation import validation_batches

LENGTH = 16


def test_validation_without_loss_is_told(tmp_path):
  documents, silent = [[5, 6, 7, 8]] * 9, [[False] * 4] * 9
  tiny_store(
    tmp_path, 'asks', documents, 'validation', losses=silent, whole=True
  )
  corpus = Corpus(store_dir=str(tmp_path))
  with pytest.raises(UserError, match='no token of the 3 rows'):
    validation_batches(corpus, 'asks', 3, 2, Layout(6))


def test_validation_rows_are_fixed_and_padded(tmp_path):
  documents = counting_documents(10, 13)
  corpus = tiny_corpus(tmp_path, {'numbers': documents})
  batches, _ = validation_batches(corpus, 'numbers', 10, 4, Layout(LENGTH))
  # 129 tokens can be predicted: 8 rows of 16 and a padded one, fewer than 10.
  assert len(batches) == 3
  assert sum(int((b['segments'] > 0).sum()) for b in batches) == 129
  batches, _ = validation_batches(corpus, 'numbers', 6, 4, Layout(LENGTH))
  assert len(batches) == 2
  assert batches[1]['weights'][2:].sum() == 0
  assert batches[1]['weights'][:2].sum() > 0
  assert np.all(batches[1]['segments'][2:] == 0)
  more, _ = validation_batches(corpus, 'numbers', 8, 4, Layout(LENGTH))
  assert np.array_equal(more[0]['inputs'], batches[0]['inputs'])
