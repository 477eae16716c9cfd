"""What is read is never executed, and what is written can't be.

A gin file is a program and names modules; everything else is data.
"""

import ast
import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from tests.formats.test_first import FIRST
from tpu_lm.data.corpus import Corpus
from tpu_lm.data.examples.text import Text
from tpu_lm.data.sources.files import Files
from tpu_lm.survey.page import show, survey

ROOT = pathlib.Path(__file__).parents[1]
FILES = [
  path
  for room in ('tpu_lm', 'data_tasks', 'scripts')
  for path in sorted((ROOT / room).rglob('*.py'))
]
# Modules that execute what they read, write where an archive says, or listen.
MODULES = {
  *('pickle', 'cPickle', 'dill', 'cloudpickle', 'joblib', 'marshal', 'shelve'),
  *('tarfile', 'zipfile', 'yaml', 'runpy', 'code'),
  *('http.server', 'socketserver', 'wsgiref', 'xmlrpc.server'),
}
CALLS = {'eval', 'exec', 'compile', '__import__'}
ATTRIBUTES = {'system', 'popen', 'extractall', 'unpack_archive'}
# Who imports by name, and why.
IMPORTERS = {
  'tpu_lm/config_errors.py': 'modules that a gin file named, for a suggestion',
  'tpu_lm/data/registry.py': 'modules that a gin file or --module names',
  'tpu_lm/restore.py': 'our own rooms',
}


def imported(tree):
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (name.name for name in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
      yield node.module
      yield from (f'{node.module}.{name.name}' for name in node.names)


def called(tree):
  for node in ast.walk(tree):
    if isinstance(node, ast.Call):
      yield node


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_that_executes_data(path):
  tree = ast.parse(path.read_text(encoding='utf-8'))
  found = {name for name in imported(tree) if name in MODULES}
  assert not found
  for call in called(tree):
    name = getattr(call.func, 'id', None)
    assert name not in CALLS, f'{path}:{call.lineno}'
    attribute = getattr(call.func, 'attr', None)
    assert attribute not in ATTRIBUTES, f'{path}:{call.lineno}'
    for keyword in call.keywords:
      value = getattr(keyword.value, 'value', None)
      if keyword.arg in ('shell', 'allow_pickle', 'trust_remote_code'):
        assert value is False, f'{path}:{call.lineno}'
    if attribute == 'import_module':
      assert str(path.relative_to(ROOT)) in IMPORTERS


# Python tells its audit hooks of every class that a pickle asks for.
READING = """
import pathlib, sys
told = []
def watch(event, arguments):
  if event in ('pickle.find_class', 'os.system', 'os.exec',
               'subprocess.Popen', 'exec'):
    told.append((event, arguments))
from tpu_lm import cli
from tpu_lm.restore import restore
from orbax.checkpoint import v1
import tpu_lm.report.pictures
first, output = sys.argv[1:]
restore(pathlib.Path(first) / 'phases' / 'base')  # libraries load themselves
told.clear()
sys.addaudithook(watch)
found = restore(pathlib.Path(first) / 'phases' / 'branch')
assert cli.main(['checkpoints', first, '--verify']) == 0
assert cli.main(['report', output]) == 0
bad = [one for one in told if one[0] != 'exec']
bad += [one for one in told if one[0] == 'exec' and 'first' in str(one[1][0])]
print('executed:', bad)
"""


def test_reading_a_run_folder_executes_nothing(tmp_path):
  run_dir = tmp_path / 'run'
  shutil.copytree(FIRST, run_dir)
  output = subprocess.run(
    [
      *(sys.executable, '-c', READING),
      *(str(FIRST), str(run_dir)),
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert output.returncode == 0, output.stderr[-2000:]
  assert output.stdout.splitlines()[-1] == 'executed: []'


def test_a_planted_pickle_is_seen():
  """The hook above would tell."""
  code = READING[: READING.index('from tpu_lm')] + (
    'import pickle, collections\n'
    'sys.addaudithook(watch)\n'
    'pickle.loads(pickle.dumps(collections.OrderedDict()))\n'
    'print(told[0][0])\n'
  )
  output = subprocess.check_output([sys.executable, '-c', code], text=True)
  assert output == 'pickle.find_class\n'


def test_the_lock_pins_everything_by_hash():
  text = (ROOT / 'requirements.lock').read_text(encoding='utf-8')
  lines = [line for line in text.splitlines() if not line.startswith('#')]
  text = '\n'.join(line for line in lines if line.strip()[:1] != '#')
  requirements = re.split(r'\n(?=\S)', text.strip())
  assert len(requirements) > 50
  for one in requirements:
    assert re.match(r'[\w.-]+==\S+ \\\n', one), one
    assert re.search(r'--hash=sha256:[0-9a-f]{64}', one), one
  assert '://' not in text


EVIL = '<script>alert(1)</script><img src=x onerror=alert(1)>'


def test_the_survey_page_escapes_what_it_shows(tmp_path):
  path, page = tmp_path / 'evil.jsonl', tmp_path / 'page.html'
  path.write_text('\n'.join([json.dumps({'text': EVIL})] * 99))
  files = Files('evil', str(path), example=Text())
  corpus = Corpus(files=(files,), store_dir=str(tmp_path / 'stores'))
  show(survey(corpus, ['evil'], sequence_length=128, rows=1), page)
  text = page.read_text(encoding='utf-8')
  shown = re.sub('<[^>]*>', '', text)  # each token has a colour
  assert '&lt;script&gt;alert(1)&lt;' in shown
  assert '<script>alert' not in text and '<img src=x' not in text
