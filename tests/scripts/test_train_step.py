"""scripts/benchmarks/train_step.py, and that its PyTorch twin is our equal."""

import dataclasses
import importlib
import multiprocessing
import os
import pathlib
import shutil
import subprocess
import sys
import threading

import pytest

from tests import tiny
from tpu_lm import config
from tpu_lm.blocks.attention import Attention
from tpu_lm.blocks.heads import Separate
from tpu_lm.checks import UserError
from tpu_lm.optimizers.adamw import AdamW

ROOT = pathlib.Path(__file__).parents[2]
FILES = str(ROOT / 'gin_configs' / 'runs' / 'files.gin')
SMALL = [
  f'--gin_file={FILES}',
  f'--gin_file={ROOT / "gin_configs" / "models" / "decoder_nano.gin"}',
  '--gin.BATCH=2',
  '--gin.SEQ_LEN=8',
  '--gin.Decoder.unroll=1',
]
NEEDS = "needs torch: pip install 'tpu-lm[bench]'"


@pytest.fixture(autouse=True)
def beside_the_scripts(monkeypatch):
  monkeypatch.syspath_prepend(ROOT / 'scripts' / 'benchmarks')


def call(monkeypatch, *arguments):
  monkeypatch.setattr(sys, 'argv', ['train_step.py', *arguments])
  importlib.import_module('train_step').main()


def module(name):
  """One of the comparison's, where there is PyTorch."""
  pytest.importorskip('torch', reason=NEEDS)
  return importlib.import_module(name)


def run(**changes):
  """A tiny decoder whose gradients are clipped."""
  loaded = config.load([FILES], ['BATCH = 4', 'SEQ_LEN = 12']).run
  phase = dataclasses.replace(loaded.phases[0], optimizer=AdamW(clip=0.1))
  model = tiny.decoder(**changes)
  return dataclasses.replace(loaded, model=model, phases=(phase,))


def test_a_step_is_timed(monkeypatch, capsys):
  call(monkeypatch, *SMALL, '--steps=1')
  assert float(capsys.readouterr().out.split(' ms a step')[0]) > 0


def test_a_variable_is_changed_every_second_time(monkeypatch, capsys):
  calls = []

  def answer(command, env, **_):
    calls.append((command[2:], env.get('CHANGED')))
    times = '3.0 ms' if 'CHANGED' in env else '2.0 ms'
    return subprocess.CompletedProcess(command, 0, times)

  monkeypatch.setattr(subprocess, 'run', answer)
  call(monkeypatch, *SMALL, '--against=CHANGED=a=b', '--repeats=2')
  assert (
    calls == [([*SMALL, '--steps=40'], value) for value in (None, 'a=b')] * 2
  )
  assert 'median 1.50, 1.50 to 1.50 in 2 pairs' in capsys.readouterr().out


@pytest.mark.parametrize(
  ('arguments', 'said'),
  [
    (['--against=jax'], 'must be VARIABLE=VALUE, or torch'),
    (['--check'], 'go with --against=torch'),
  ],
)
def test_mistakes(monkeypatch, capsys, arguments, said):
  with pytest.raises(SystemExit, match='2'):
    call(monkeypatch, *arguments)
  assert said in capsys.readouterr().err


def test_without_torch_it_says_what_to_install(monkeypatch, capsys):
  monkeypatch.setitem(sys.modules, 'torch', None)
  with pytest.raises(SystemExit, match='2'):
    call(monkeypatch, '--against=torch')
  said = capsys.readouterr().err
  assert 'tpu-lm[bench]' in said
  assert said.count('\n') == 1


@pytest.mark.parametrize('documents', [1, 3])
@pytest.mark.parametrize(
  'changes', [{}, {'head': Separate(), 'kv_heads': 4}], ids=['tied', 'separate']
)
def test_the_twin_is_equal(changes, documents):
  against_torch = module('against_torch')
  against_torch.compare(run(**changes), documents, False).check('eager')


@pytest.mark.slow
@pytest.mark.parametrize('documents', [1, 3])
def test_the_compiled_twin_is_equal(documents):
  against_torch = module('against_torch')
  if not shutil.which(os.environ.get('CXX', 'g++')):
    pytest.skip('torch.compile needs a C++ compiler')
  against_torch.compare(run(), documents, True).check('compiled')


def unmasked(torch_twin, monkeypatch):
  whole = torch_twin.batch_of
  against_torch = importlib.import_module('against_torch')
  monkeypatch.setattr(
    against_torch,
    'batch_of',
    lambda batch: whole(batch)._replace(segments_BS=None, positions_BS=None),
  )


def unturned(torch_twin, monkeypatch):
  monkeypatch.setattr(torch_twin, 'turned', lambda x, cos, sin: x)


def undecayed(torch_twin, monkeypatch):
  adamw = torch_twin.torch.optim.AdamW
  monkeypatch.setattr(
    torch_twin.torch.optim,
    'AdamW',
    lambda *args, **settings: adamw(*args, **settings | {'weight_decay': 0}),
  )


def unclipped(torch_twin, monkeypatch):
  clip = torch_twin.nn.utils.clip_grad_norm_
  monkeypatch.setattr(
    torch_twin.nn.utils, 'clip_grad_norm_', lambda all_, _: clip(all_, 1e9)
  )


@pytest.mark.parametrize(
  ('broken', 'what'),
  [
    (unmasked, 'loss'),
    (unturned, 'loss'),
    (undecayed, 'update'),
    (unclipped, 'update'),
  ],
)
def test_a_twin_that_differs_is_found(monkeypatch, broken, what):
  against_torch = module('against_torch')
  broken(importlib.import_module('torch_twin'), monkeypatch)
  errors = against_torch.compare(run(), 3, False)
  with pytest.raises(UserError, match=f'not equal: {what} off by'):
    errors.check('eager')


def test_what_the_twin_is_not_is_refused():
  torch_twin = module('torch_twin')
  other = run(attention=Attention(query_key_norm='head'))
  with pytest.raises(UserError, match=r'Decoder\.attention'):
    torch_twin.TwinStep(other, compiled=False)
  lines = module('against_torch').lines(run(dtype='bfloat16'), 1, True, 1, 1)
  with pytest.raises(UserError, match=r'Decoder\.dtype.*gpu\.py'):
    next(lines)


@pytest.mark.parametrize('side', ['ours', 'eager'])
def test_a_side_times_its_steps(side):
  against_torch = module('against_torch')
  ours, theirs = multiprocessing.Pipe()
  thread = threading.Thread(
    target=against_torch._serve, args=(theirs, side, run(), 1)
  )
  thread.start()
  assert ours.recv() == 'ready'
  ours.send(2)
  assert ours.recv() > 0
  ours.close()
  thread.join(timeout=60)
  assert not thread.is_alive()


def test_ratios_are_of_turns():
  against_torch = module('against_torch')
  seconds = {'ours': [1, 2, 4], 'eager': [2, 2, 6], 'compiled': [1, 1, 1]}
  assert list(against_torch.report(run(), seconds)) == [
    'ours: 24 (12 to 48) tokens/s',
    'eager: 24 (8 to 24) tokens/s',
    'compiled: 48 (48 to 48) tokens/s',
    'ours / eager: 1.50 (1.00 to 2.00) of 3 turns',
    'ours / compiled: 0.50 (0.25 to 1.00) of 3 turns',
  ]
