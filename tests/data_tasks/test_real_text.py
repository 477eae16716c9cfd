"""Real corpora, where they lie beside the project."""

import json
import lzma
import pathlib

import numpy as np
import pytest

from tpu_lm.data.corpus import Corpus
from tpu_lm.data.sources.files import Files
from tpu_lm.data.vocabularies.bytes import Bytes
from tpu_lm.data.vocabularies.tokenizer_json import TokenizerJson

DATA = pathlib.Path(__file__).parents[3] / 'shared' / 'data'
FILE = DATA / 'en' / 'c4_en.validation.jsonl.xz'
TOKENIZERS = DATA / 'tokenizers'

pytestmark = pytest.mark.skipif(
  not FILE.is_file(), reason='needs ../shared/data'
)


def read_texts():
  with lzma.open(FILE, 'rt', encoding='utf-8', newline='\n') as lines:
    return [json.loads(line)['text'] for line in lines]


def gpt2():
  return TokenizerJson(str(TOKENIZERS / 'gpt2.tokenizer.json.gz'))


@pytest.mark.parametrize('vocabulary', [Bytes, gpt2])
def test_every_document_is_stored_once_and_whole(tmp_path, vocabulary):
  vocabulary = vocabulary()
  corpus = Corpus(
    files=(Files(name='c4', path=str(FILE)),),
    store_dir=str(tmp_path),
    vocabulary=vocabulary,
  )
  stored = []
  for split in ('train', 'validation'):
    store = corpus.open('c4', split)
    for number in range(store.num_documents):
      tokens = np.asarray(store.document(number))
      assert tokens[-1] == vocabulary.end
      stored.append(vocabulary.decode(tokens))
  assert sorted(stored) == sorted(read_texts())
