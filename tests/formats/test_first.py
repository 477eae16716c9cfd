"""A run folder of the first format is read, and trained to its end.

It was written by the version before checkpoints had checksums: a tree of
tests/tree.gin, a phase done and the next one stopped in its middle.
"""

import json
import pathlib
import shutil

import numpy as np
import pytest

from tests import tiny
from tpu_lm import cli
from tpu_lm.checkpoint import Checkpoints
from tpu_lm.lineage import Lineage

FIRST = pathlib.Path(__file__).parent / 'first'
SIZES = {'embed': 8, 'mlp': 16, 'layers': 1, 'heads': 2, 'kv_heads': 1}


@pytest.fixture
def folder(tmp_path):
  shutil.copytree(FIRST, tmp_path / 'run')
  return tmp_path / 'run'


def checkpoints(folder, phase):
  return Checkpoints(folder / 'phases' / phase / 'checkpoints')


def test_its_checkpoints_are_read(folder):
  saved = checkpoints(folder, 'branch')
  assert saved.steps() == [29]
  record = saved.record(29)
  assert 'format' not in record and 'arrays' not in record
  lineage = Lineage.from_json(record['lineage'])
  assert (lineage.phase, lineage.parent.step) == ('branch', 20)
  assert lineage.ledger['rows'] == {'letters@32': 116}
  arrays = saved.arrays(29)
  assert arrays['params/embedding/table'].shape == (259, 8)
  assert all(np.all(np.isfinite(array)) for array in arrays.values())
  assert saved.shapes(29, 'params')['embedding']['table'].shape == (259, 8)


def test_it_is_trained_to_its_end(folder, tmp_path, capsys):
  tiny.corpus(tmp_path / 'stores')
  before = (folder / 'phases/base/lineage.json').read_bytes()
  arguments = ['train', '--gin_file=tests/tree.gin', f'--run_dir={folder}']
  arguments += [f"--gin.Corpus.store_dir='{tmp_path / 'stores'}'"]
  arguments += [f'--gin.Decoder.{name}={size}' for name, size in SIZES.items()]
  arguments += ['--gin.Decoder.head_dim=4', '--gin.STEPS=20']
  arguments += ['--gin.Phase.save_every=20']
  assert cli.main(arguments) == 0, capsys.readouterr().err
  for phase, step in (('base', 20), ('branch', 40), ('next', 40)):
    lineage = json.loads(
      (folder / 'phases' / phase / 'lineage.json').read_text()
    )
    assert (lineage['status'], lineage['end_step']) == ('done', step)
  assert (
    json.loads(before)['definition']
    == json.loads((folder / 'phases/base/lineage.json').read_text())[
      'definition'
    ]
  )
  # What it had not got to is of this version's format.
  assert checkpoints(folder, 'next').record(40)['format'] == 2
