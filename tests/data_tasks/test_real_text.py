"""Text files on real corpora, where they lie beside the project."""

import json
import lzma
import pathlib

import numpy as np
import pytest

from tpu_lm.data.corpus import Corpus
from tpu_lm.data.sources import TextFiles

DATA = pathlib.Path(__file__).parents[3] / 'shared' / 'data'
FILE = DATA / 'en' / 'c4_en.validation.jsonl.xz'


@pytest.mark.skipif(not FILE.is_file(), reason=f'needs {FILE}')
def test_every_document_is_stored_once_and_whole(tmp_path):
  with lzma.open(FILE, 'rt', encoding='utf-8', newline='\n') as lines:
    texts = [json.loads(line)['text'] for line in lines]
  corpus = Corpus(
    text_files=(TextFiles(name='c4', path=str(FILE)),),
    store_dir=str(tmp_path),
  )
  stored = []
  for split in ('train', 'validation'):
    store = corpus.open('c4', split)
    for number in range(store.num_documents):
      tokens = np.asarray(store.document(number))
      assert tokens[-1] == 1  # the end mark of seqio's byte vocabulary
      stored.append(bytes((tokens[:-1] - 3).astype(np.uint8)).decode())
  assert sorted(stored) == sorted(texts)
