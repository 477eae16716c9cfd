"""The corpora of the first run, on a small part of what is installed."""

import ast
import warnings

import numpy as np
import pytest

from tpu_lm.data.registry import load_seqio

KINDS = ('prose', 'python', 'headers')
SPLITS = ('train', 'validation')


@pytest.fixture(scope='module')
def installed():
  load_seqio()
  from data_tasks import installed_text

  patch = pytest.MonkeyPatch()
  limits = {'train': 300_000, 'validation': 100_000}
  patch.setattr(installed_text, 'MOST_BYTES', limits)
  installed_text.texts.cache_clear()
  yield installed_text
  patch.undo()
  installed_text.texts.cache_clear()


def test_splits_share_no_file(installed):
  for suffixes in (installed.PYTHON, installed.HEADERS):
    train, held_out = ({*installed._files(suffixes, split)} for split in SPLITS)
    assert not train & held_out
    assert 0.03 < len(held_out) / len(train | held_out) < 0.07


@pytest.mark.parametrize('kind', KINDS)
def test_sizes_are_bounded_and_told(installed, kind):
  for split in SPLITS:
    texts = installed.texts(kind, split)
    sizes = [len(text.encode()) for text in texts]
    assert 10_000 < sum(sizes) <= installed.MOST_BYTES[split]
    assert max(sizes) <= installed.MOST_BYTES_OF_A_FILE
    assert len({*texts}) == len(texts)
    assert installed.describe(kind, split) == (len(texts), sum(sizes))


def test_python_parses_and_has_no_docstrings(installed):
  for source in installed.texts('python', 'train'):
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')
      tree = ast.parse(source)
    for node in ast.walk(tree):
      if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
        assert ast.get_docstring(node) is None


def test_packages_mix(installed):
  paths = installed._files(installed.PYTHON, 'train')[:200]
  tops = [
    path.parts[path.parts.index('site-packages') + 1]
    for path in paths
    if 'site-packages' in path.parts
  ]
  changes = np.mean(np.array(tops[1:]) != np.array(tops[:-1]))
  assert changes > 0.5


def test_the_files_that_tell_of_changes_are_few(installed):
  from tpu_lm.data.dependencies import list_files

  files = list_files(installed.source_files())
  assert any('numpy' in path and path.endswith('RECORD') for path in files)
  assert len(files) < 400


def test_the_tasks_and_their_mixture_are_registered(installed):
  import seqio

  mixture = seqio.get_mixture_or_task('installed_text')
  assert {task.name: mixture.get_rate(task) for task in mixture.tasks} == {
    'prose': 1,
    'python': 1,
    'headers': 1,
  }
  task = seqio.get_mixture_or_task('headers')
  example = next(
    task.get_dataset(split='validation', shuffle=False).as_numpy_iterator()
  )
  text = installed.texts('headers', 'validation')[0]
  assert example['targets'].tolist() == [*(b + 3 for b in text.encode()), 1]
