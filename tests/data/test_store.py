import hashlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.helpers import counting_documents, tiny_store
from tpu_lm.checks import UserError
from tpu_lm.data.corpus import Corpus
from tpu_lm.data.store import TokenStore, store_directories
from tpu_lm.data.writer import StoreHeader, write_store

# A process that writes 50 documents, slowly, and tells of each.
WRITER = """
import sys, time
import numpy as np
from tpu_lm.data.writer import StoreHeader, write_store

def documents():
  for number in range(50):
    yield np.full(1000, number)
    print('document', number, flush=True)
    time.sleep(float(sys.argv[2]))

header = StoreHeader('slow', 'train', 259, chunk_tokens=700)
store = write_store(sys.argv[1] + '/slow/train-0a1b', header, documents())
print('store', store.fingerprint)
"""


def start_writer(folder, seconds):
  return subprocess.Popen(
    [sys.executable, '-c', WRITER, str(folder), str(seconds)],
    stdout=subprocess.PIPE,
    text=True,
    env={**os.environ, 'PYTHONPATH': os.pathsep.join(['.', *sys.path])},
  )


def content(folder):
  return {
    path.name: hashlib.sha256(path.read_bytes()).hexdigest()
    for path in folder.iterdir()
  }


@settings(max_examples=30, deadline=None)
@given(
  documents=st.lists(
    st.lists(st.integers(0, 258), max_size=40), min_size=1, max_size=20
  ),
  chunk_tokens=st.integers(1, 60),
  data=st.data(),
)
def test_gives_back_what_was_written(
  tmp_path_factory, documents, chunk_tokens, data
):
  flat = [token for document in documents for token in document]
  numbers = [
    number
    for number, document in enumerate(filter(None, documents))
    for _ in document
  ]
  folder = tmp_path_factory.mktemp('stores')
  if not flat:
    with pytest.raises(UserError, match="split 'train' has no tokens"):
      tiny_store(folder, 'x', documents)
    return
  store = tiny_store(folder, 'x', documents, chunk_tokens=chunk_tokens)
  assert store.num_tokens == len(flat)
  assert store.num_documents == len([d for d in documents if d])
  assert store.tokens(0, len(flat)).tolist() == flat
  length = data.draw(st.integers(1, len(flat)))
  starts = data.draw(
    st.lists(st.integers(0, len(flat) - length), min_size=1, max_size=5)
  )
  tokens, owners = store.gather(np.array(starts), length)
  for row, start in enumerate(starts):
    assert tokens[row].tolist() == flat[start : start + length]
    assert owners[row].tolist() == numbers[start : start + length]


@pytest.mark.parametrize(
  ('size', 'dtype'), [(256, 'uint8'), (257, 'uint16'), (2**16 + 1, 'uint32')]
)
def test_tokens_take_no_more_bytes_than_needed(tmp_path, size, dtype):
  store = tiny_store(tmp_path, 'x', [[0, size - 1]], vocabulary_size=size)
  assert store.manifest.dtype == dtype
  assert store.tokens(0, 2).tolist() == [0, size - 1]


def test_the_fingerprint_is_of_the_content(tmp_path):
  def fingerprint(folder, documents, **fields):
    return tiny_store(tmp_path / folder, 'x', documents, **fields).fingerprint

  one = fingerprint('1', [[3, 4], [5]])
  assert fingerprint('2', [[3, 4], [5]], chunk_tokens=1) == one
  assert fingerprint('3', [[3], [4, 5]]) != one
  assert fingerprint('4', [[3, 4], [6]]) != one
  assert fingerprint('5', [[3, 4], [5]], vocabulary_size=258) != one


@pytest.mark.parametrize('token', [-1, 259])
def test_a_token_outside_of_the_vocabulary_is_told(tmp_path, token):
  with pytest.raises(UserError, match=f'token {token} is not in its vocab'):
    tiny_store(tmp_path, 'x', [[3, token]])
  assert not any(
    path.suffix != '.partial'
    for path in store_directories(tmp_path / 'x', 'train')
  )


def test_splits_with_like_names_are_kept_apart(tmp_path):
  tiny_store(tmp_path, 'x', ['long'], split='train-long')
  tiny_store(tmp_path, 'x', ['short'], split='train')
  corpus = Corpus(store_dir=str(tmp_path))
  assert corpus.open('x', 'train').manifest.split == 'train'
  assert corpus.open('x', 'train-long').manifest.split == 'train-long'


def test_a_killed_writer_leaves_nothing_that_can_be_read(tmp_path):
  writer = start_writer(tmp_path, 0.05)
  while writer.stdout.readline() != 'document 20\n':
    pass
  writer.send_signal(signal.SIGKILL)
  writer.wait()
  left = store_directories(tmp_path / 'slow', 'train')
  assert [path.name for path in left] == ['train-0a1b.partial']
  assert any(left[0].iterdir())

  again = start_writer(tmp_path, 0)
  assert again.wait() == 0
  undisturbed = start_writer(tmp_path / 'other', 0)
  assert undisturbed.wait() == 0
  left = store_directories(tmp_path / 'slow', 'train')
  assert [path.name for path in left] == ['train-0a1b']
  assert content(left[0]) == content(tmp_path / 'other/slow/train-0a1b')
  assert TokenStore(left[0]).num_tokens == 50_000


def test_the_second_of_two_writers_waits_and_reads(tmp_path):
  first = start_writer(tmp_path, 0.01)
  assert first.stdout.readline() == 'document 0\n'
  second = start_writer(tmp_path, 0.01)
  first_lines = first.communicate()[0].splitlines()
  second_lines = second.communicate()[0].splitlines()
  assert first.returncode == second.returncode == 0
  assert len(first_lines) == 50
  assert second_lines == first_lines[-1:]


def test_writing_and_reading_is_quick(tmp_path):
  rng = np.random.default_rng(0)
  documents = [rng.integers(0, 259, 2000) for _ in range(1000)]
  header = StoreHeader('quick', 'train', 259)
  store = write_store(tmp_path / 'quick/train-0', header, documents)
  start = time.monotonic()
  for _ in range(10):
    store.gather(np.arange(0, 1_900_000, 10_000), 513)
  # It takes some 20 ms; a loop over tokens would take seconds.
  assert time.monotonic() - start < 1


def test_documents_can_be_read_alone(tmp_path):
  documents = counting_documents(3, 5)
  store = tiny_store(tmp_path, 'x', documents, chunk_tokens=4)
  assert store.document(1).tolist() == documents[1].tolist()
