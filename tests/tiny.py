"""A model, a corpus and runs small enough for tests; no seqio needed."""

import os
import pathlib
import subprocess
import sys

import numpy as np

from tests.data.helpers import tiny_corpus
from tpu_lm.data.mixing import Mixture
from tpu_lm.data.replay import Replay
from tpu_lm.models.decoder import Decoder
from tpu_lm.models.encoder import Encoder
from tpu_lm.models.encoder_decoder import EncoderDecoder
from tpu_lm.models.prefix_decoder import PrefixDecoder
from tpu_lm.phase import Evaluate, Phase, Run
from tpu_lm.schedules.constant import Constant
from tpu_lm.schedules.exponential import Exponential
from tpu_lm.schedules.infinite import Infinite

TEXTS = {
  'letters': [f'dear friend number {i}, the sun is up' for i in range(200)],
  'code': [f'def add_{i}(x): return x + {i}' for i in range(200)],
}


SIZES = {
  'vocabulary': 259,
  'layers': 2,
  'embed': 32,
  'heads': 4,
  'kv_heads': 2,
  'head_dim': 8,
  'mlp': 64,
  'dtype': 'float32',
}


def decoder(**changes) -> Decoder:
  """About 20 k parameters, float32."""
  return Decoder(**(SIZES | changes))


def prefix_decoder(**changes) -> PrefixDecoder:
  """The same, and sees prefixes both ways."""
  return PrefixDecoder(**(SIZES | changes))


def encoder(**changes) -> Encoder:
  """The same, and sees both ways."""
  return Encoder(**(SIZES | changes))


def encoder_decoder(**changes) -> EncoderDecoder:
  """Three layers in the encoder, two in the decoder."""
  return EncoderDecoder(**({'encoder_layers': 3} | SIZES | changes))


def batch(rows=4, length=16, sources=1, seed=0) -> dict[str, np.ndarray]:
  """Random tokens in two documents a row; the last position is padding.

  It has what any kind of model reads: the first two tokens of each document
  are its prefix, and an encoder's rows are four tokens longer.
  """
  random = np.random.default_rng(seed)
  tokens = random.integers(3, 259, (rows, length + 1)).astype(np.int32)
  cut = length // 3
  segments = np.ones((rows, length), np.int32)
  segments[:, cut:] = 2
  segments[:, -1] = 0
  positions = np.tile(np.arange(length, dtype=np.int32), (rows, 1))
  positions[:, cut:] -= cut
  weights = np.ones((rows, length), np.float32)
  weights[:, [cut - 1, -1]] = 0
  prefix = ((positions < 2) & (segments > 0)).astype(np.int32)
  read = random.integers(3, 259, (rows, length + 4)).astype(np.int32)
  read_segments = np.ones_like(read)
  read_segments[:, cut + 2 :] = 2
  read_segments[:, -2:] = 0
  read_positions = np.tile(np.arange(length + 4, dtype=np.int32), (rows, 1))
  read_positions[:, cut + 2 :] -= cut + 2
  return {
    'prefix': prefix,
    'encoder_inputs': read,
    'encoder_segments': read_segments,
    'encoder_positions': read_positions,
    'inputs': tokens[:, :-1],
    'targets': tokens[:, 1:],
    'weights': weights,
    'segments': segments,
    'positions': positions,
    'source': np.arange(rows, dtype=np.int32) % sources,
  }


def corpus(folder: pathlib.Path):
  """Stores of two sources, found under `folder`."""
  return tiny_corpus(folder, TEXTS)


def tree_run(folder: pathlib.Path, steps: int = 12, **changes) -> Run:
  """A trunk, its annealing branch, and a child on new data with replay whose
  weights change on the way.
  """
  common = {
    'length': steps,
    'batch_size': 4,
    'sequence_length': 16,
    'evaluate': Evaluate(every=6, dense_every=2, dense_until=4, rows=8),
    'save_every': 5,
  }
  letters, code = {'letters': 1.0}, {'code': 1.0}
  trunk = Infinite(peak=3e-3, constant=1.65e-3, warmup=2, cooldown=0.5)
  phases = (
    Phase(
      name='base', mixture=Mixture(weights=letters), schedule=trunk, **common
    ),
    Phase(
      name='base_annealed',
      parent='base',
      mixture=Mixture(weights=letters),
      schedule=Exponential(end=3e-4),
      **common,
    ),
    Phase(
      name='next',
      parent='base',
      mixture=Mixture(
        weights=code,
        changes={7: {'code': 1.0, 'letters': 0.5}},
        replay=Replay(fraction=0.25),
      ),
      schedule=Constant(rate='parent'),
      **common,
    ),
  )
  values = {
    'name': 'tiny',
    'model': decoder(),
    'phases': phases,
    'corpus': corpus(folder),
    'log_every': 3,
  }
  return Run(**(values | changes))


def on_devices(code: str, *arguments: str, devices: int = 8) -> list[str]:
  """Lines that a program prints in a process with so many devices."""
  output = subprocess.run(
    [sys.executable, '-c', code, *arguments],
    env={
      **os.environ,
      'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}',
    },
    capture_output=True,
    text=True,
    check=False,
  )
  assert output.returncode == 0, output.stderr[-3000:]
  return output.stdout.splitlines()
