"""Weights of real files, where they lie beside the project."""

import json
import pathlib

import jax
import numpy as np
import pytest

from tests.families.parity import QUICK, TOLERANCE
from tpu_lm.families.load import load

WEIGHTS = pathlib.Path(__file__).parents[3] / 'shared' / 'data' / 'weights'
pytestmark = pytest.mark.skipif(not WEIGHTS.is_dir(), reason=f'needs {WEIGHTS}')


def safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  """The float32 tensors of a file: a length, a header in JSON, numbers."""
  data = path.read_bytes()
  start = 8 + int.from_bytes(data[:8], 'little')
  header = json.loads(data[8:start])
  header.pop('__metadata__', None)
  assert {about['dtype'] for about in header.values()} == {'F32'}
  return {
    name: np.frombuffer(
      data[start:][slice(*about['data_offsets'])], '<f4'
    ).reshape(about['shape'])
    for name, about in header.items()
  }


def released(folder: pathlib.Path):
  """Model and parameters of a folder."""
  config = json.loads((folder / 'config.json').read_text(encoding='utf-8'))
  return load(config, safetensors(folder / 'model.safetensors'))


def logits(model, params, inputs, encoder_inputs=None) -> np.ndarray:
  """f32[S, V] of one row."""
  batch = {}
  for side, row in (('', inputs), ('encoder_', encoder_inputs)):
    if row is not None:
      batch[f'{side}inputs'] = row[None]
      batch[f'{side}segments'] = np.ones_like(row)[None]
      batch[f'{side}positions'] = np.arange(len(row), dtype=np.int32)[None]
  apply = jax.jit(model.apply, compiler_options=QUICK)
  return np.asarray(apply(params, batch).logits_BSV[0])


@pytest.mark.parametrize('name', ['gpt2_tiny', 'llama_tiny', 't5_tiny'])
def test_random_releases(name):
  model, params = released(WEIGHTS / 'random' / name)
  with np.load(WEIGHTS / 'random' / name / 'logits.npz') as arrays:
    for row in '01':
      ids, expected = arrays[f'ids{row}'], arrays[f'logits{row}']
      decoder = arrays.get(f'dec{row}')
      ours = (
        logits(model, params, ids)
        if decoder is None
        else logits(model, params, decoder, ids)
      )
      assert np.abs(ours - expected).max() < TOLERANCE


def test_a_trained_llama():
  folder = WEIGHTS / 'stories260K'
  model, params = released(folder / 'hf')
  texts = json.loads((folder / 'reference_logits.json').read_text())
  with np.load(folder / 'reference_logits.npz') as arrays:
    for row, text in enumerate(texts[:2]):
      ids = arrays[f'ids{row}']
      assert ids.tolist() == text['ids']
      ours = logits(model, params, ids)
      assert np.abs(ours - arrays[f'logits{row}']).max() < TOLERANCE
      log_probabilities = np.asarray(jax.nn.log_softmax(ours[:-1]))
      loss = -log_probabilities[np.arange(len(ids) - 1), ids[1:]].mean()
      assert abs(loss - text['mean_nll']) < 1e-5
      greedy = text['greedy_from_first8']
      follow = logits(model, params, np.asarray(greedy[:-1], np.int32))
      assert follow[7:].argmax(-1).tolist() == greedy[8:]
