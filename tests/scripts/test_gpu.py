"""scripts/benchmarks/gpu.py, as far as a machine without GPUs can tell."""

import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / 'scripts' / 'benchmarks' / 'gpu.py'


def call(*arguments):
  return subprocess.run(
    [sys.executable, SCRIPT, *arguments],
    capture_output=True,
    text=True,
    check=False,
  )


def test_a_tiny_one_runs_anywhere():
  done = call('--models=tiny', '--steps=2')
  assert done.returncode == 0, done.stderr
  assert done.stdout.startswith('tiny ours: 0.00 B parameters on 1 ')
  assert 'tokens/s, MFU unknown, ' in done.stdout


def test_the_same_in_pytorch():
  pytest.importorskip(
    'torch', reason="needs torch: pip install 'tpu-lm[bench]'"
  )
  done = call('--models=tiny', '--steps=2', '--against=torch')
  assert done.returncode == 0, done.stdout + done.stderr
  assert [line.split(':')[0] for line in done.stdout.splitlines()] == [
    'tiny ours',
    'tiny torch',
  ]


def test_without_gpus_it_says_so():
  done = call('--models=125m')
  assert done.returncode == 1
  assert '125m ours: failed: there is no GPU here' in done.stdout


def test_mistakes():
  done = call('--models=125m,2b')
  assert done.returncode == 2 and "'2b' is none of tiny, 125m" in done.stderr
