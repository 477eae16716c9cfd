import os
import subprocess
import sys

from tests.data.helpers import tiny_corpus

SCRIPT = """
import sys
for name in ('seqio', 'tensorflow', 'tensorflow_datasets'):
  sys.modules[name] = None  # importing it raises ModuleNotFoundError

from tpu_lm.checks import UserError
from tpu_lm.data.batches import BatchBuilder
from tpu_lm.data.corpus import Corpus
from tpu_lm.data.layout import Layout
from tpu_lm.data.ledger import Ledger
from tpu_lm.data.mixing import Mixture
from tpu_lm.data.sources.files import Files
from tpu_lm.data.validation import validation_batches

corpus = Corpus(('data_tasks.installed_text',), store_dir=sys.argv[1])
builder = BatchBuilder(corpus, Mixture({'prose': 1}), 4, Layout(8), Ledger())
batch, ledger = builder.next(0, Ledger())
assert batch['inputs'].shape == (4, 8)
assert validation_batches(corpus, 'prose', 2, 2, Layout(8))
files = Files('mine', sys.argv[2], sys.argv[2])
own = Corpus(files=(files,), store_dir=sys.argv[1])
assert own.expand('mine') == {'mine': 1}
for split in ('train', 'validation'):
  assert own.open('mine', split).num_documents == 2
try:
  own.open('unknown', 'train')
except UserError as error:
  assert 'is neither Files of the corpus nor' in str(error)
try:
  corpus.open('python', 'train')
except UserError as error:
  print(error)
"""


def test_stores_are_read_and_files_built_where_seqio_is_not_installed(tmp_path):
  tiny_corpus(tmp_path / 'stores', {'prose': ['text of some length'] * 5})
  lines = tmp_path / 'lines.jsonl'
  lines.write_text('{"text": "one"}\n{"text": "two"}\n')
  done = subprocess.run(
    [sys.executable, '-c', SCRIPT, str(tmp_path / 'stores'), str(lines)],
    capture_output=True,
    text=True,
    check=True,
    env={**os.environ, 'PYTHONPATH': os.pathsep.join(['.', *sys.path])},
  )
  assert 'seqio is not installed here' in done.stdout
  assert 'copy the finished stores into Corpus.store_dir' in done.stdout
