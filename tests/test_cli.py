"""The command line: quick help, one clear line for each mistake."""

import pathlib
import subprocess
import sys
import time

import pytest

from tests import tiny
from tpu_lm.cli import EXIT_MISTAKE, main
from tpu_lm.run_folder import locked

ROOT = pathlib.Path(__file__).parents[1]


def test_help_imports_nothing_heavy():
  code = (
    'import sys; from tpu_lm.cli import main\n'
    'try: main(["--help"])\n'
    'except SystemExit: pass\n'
    'heavy = {"jax", "tensorflow", "seqio", "gin"} & set(sys.modules)\n'
    'assert not heavy, heavy'
  )
  started = time.monotonic()
  done = subprocess.run(
    [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
  assert 'tpu-lm train --gin_file=F' in done.stdout
  # It takes 0.05 s; a machine ten times as slow still passes.
  assert time.monotonic() - started < 5


@pytest.fixture
def stores(tmp_path):
  tiny.corpus(tmp_path / 'stores')
  return tmp_path / 'stores'


def fails(capsys, *arguments):
  """The one line that a command prints when it refuses."""
  assert main([str(argument) for argument in arguments]) == EXIT_MISTAKE
  captured = capsys.readouterr()
  [line] = [x for x in captured.err.splitlines() if x.startswith('tpu-lm: ')]
  assert 'Traceback' not in captured.err
  return line


def tree(stores, run_dir, *bindings):
  return (
    'train',
    f'--gin_file={ROOT / "tests" / "tree.gin"}',
    f'--run_dir={run_dir}',
    f"--gin.Corpus.store_dir='{stores}'",
    *(f'--gin.{binding}' for binding in bindings),
  )


@pytest.mark.parametrize(
  ('binding', 'message'),
  [
    ('base/Phase.lenght=3', 'Did you mean: length?'),
    ('Phase.batch_size=0', 'Phase.batch_size = 0: must be a positive int'),
    ('Mesh.data=3', 'does not cover the 1 devices'),
  ],
)
def test_bad_bindings(capsys, stores, tmp_path, binding, message):
  line = fails(capsys, *tree(stores, tmp_path / 'run', binding))
  assert message in line
  assert not (tmp_path / 'run').exists()


def test_a_mixture_that_does_not_exist(capsys, stores, tmp_path):
  """Nearest names are those that the modules register."""
  line = fails(
    capsys,
    *tree(
      stores,
      tmp_path / 'run',
      "Corpus.modules=['data_tasks.installed_text']",
      "letters/Mixture.weights={'pros': 1.0}",
    ),
  )
  assert 'pros' in line and 'Did you mean: prose' in line
  assert not (tmp_path / 'run').exists()


FILES = ROOT / 'gin_configs' / 'runs' / 'files.gin'


@pytest.mark.parametrize(
  ('file', 'content', 'message'),
  [
    (None, b'', 'there is no file'),
    ('latin.txt', 'caf\u00e9 '.encode('latin-1') * 100, 'UTF-8'),
    ('bad.jsonl', b'{"text": "fine"}\n{"text": \n', 'line 2'),
  ],
)
def test_bad_folders(capsys, tmp_path, file, content, message):
  folder = tmp_path / 'texts'
  folder.mkdir()
  if file:
    (folder / file).write_bytes(content)
  line = fails(
    capsys,
    'train',
    f'--gin_file={FILES}',
    f'--run_dir={tmp_path / "run"}',
    f"--gin.Files.path='{folder}'",
    f"--gin.Corpus.store_dir='{tmp_path / 'stores'}'",
  )
  assert message in line
  assert str(folder) in line
  assert not (tmp_path / 'run').exists()
  assert not list((tmp_path / 'stores').rglob('manifest.json'))


def test_a_batch_that_the_mesh_does_not_divide(tmp_path):
  """On three devices of the host; a process of its own."""
  tiny.corpus(tmp_path / 'stores')
  arguments = tree(tmp_path / 'stores', tmp_path / 'run')
  done = subprocess.run(
    [sys.executable, '-m', 'tpu_lm.cli', *arguments],
    cwd=ROOT,
    env={
      'PATH': '',
      'JAX_PLATFORMS': 'cpu',
      'XLA_FLAGS': '--xla_force_host_platform_device_count=3',
    },
    capture_output=True,
    text=True,
  )
  assert done.returncode == EXIT_MISTAKE, done.stderr[-2000:]
  assert done.stderr.strip().splitlines()[-1] == (
    'tpu-lm: Phase.batch_size = 4: must be a multiple of 3, the devices on '
    'the mesh axes data (3), fsdp (1), expert (1)'
  )
  assert not (tmp_path / 'run').exists()


def test_unknown_arguments(capsys):
  with pytest.raises(SystemExit) as caught:
    main(['train', '--gin_file=x', '--run_dri=y'])
  assert caught.value.code == EXIT_MISTAKE
  assert '--run_dri=y' in capsys.readouterr().err


def test_run_dir_is_asked_for(capsys):
  assert '--run_dir' in fails(capsys, 'train', f'--gin_file={FILES}')


def test_run_dir_must_be_a_local_folder(capsys, stores, tmp_path):
  assert 'local folders' in fails(capsys, *tree(stores, 'gs://bucket/run'))
  (tmp_path / 'file').write_text('')
  assert 'not a folder' in fails(capsys, *tree(stores, tmp_path / 'file'))


def test_two_processes_do_not_share_a_folder(capsys, stores, tmp_path):
  (tmp_path / 'run').mkdir()
  with locked(tmp_path / 'run'):
    line = fails(capsys, *tree(stores, tmp_path / 'run'))
  assert 'another process is training in it' in line


def test_report_of_nothing(capsys, tmp_path):
  assert 'not a run folder' in fails(capsys, 'report', tmp_path)


def test_dry_run_prints_the_tree(capsys, stores, tmp_path):
  assert main([*tree(stores, tmp_path / 'run'), '--dry_run']) == 0
  lines = capsys.readouterr().out.splitlines()
  assert [line.split()[0] for line in lines[1:]] == ['base', 'branch', 'next']
  assert not (tmp_path / 'run').exists()


def test_a_run_whose_stores_exist_needs_no_tensorflow(stores, tmp_path):
  """It works where neither seqio nor TensorFlow is installed."""
  code = (
    'import sys\n'
    'for name in ("tensorflow", "seqio", "tensorflow_datasets"):\n'
    '  sys.modules[name] = None  # importing it raises ImportError\n'
    'from tpu_lm.cli import main\n'
    'sys.exit(main(sys.argv[1:]))'
  )
  arguments = tree(stores, tmp_path / 'run', 'STEPS=18')
  done = subprocess.run(
    [sys.executable, '-c', code, *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr[-2000:]
  assert (tmp_path / 'run' / 'report' / 'index.html').is_file()
