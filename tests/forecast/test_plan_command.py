"""`tpu-lm plan`, as a person uses it."""

import importlib.util
import json
import pathlib

import pytest

from tpu_lm.cli import EXIT_MISTAKE, main
from tpu_lm.commands.plan import EXIT_DOES_NOT_FIT

ROOT = pathlib.Path(__file__).parents[2]
RUN = ROOT / 'gin_configs' / 'runs' / 'files.gin'
needs_libtpu = pytest.mark.skipif(
  not importlib.util.find_spec('libtpu'), reason='needs libtpu (extra `tpu`)'
)


@pytest.fixture
def plan(tmp_path, monkeypatch, capfd):
  """Runs the command on a small text; returns its exit code and output."""
  monkeypatch.chdir(ROOT)
  monkeypatch.setenv('COLUMNS', '120')
  lines = [json.dumps({'text': f'{n}: some words. '}) for n in range(400)]
  (tmp_path / 'texts.jsonl').write_text('\n'.join(lines))

  def run(*more, texts=tmp_path / 'texts.jsonl', file=RUN):
    code = main(
      [
        'plan',
        f'--gin_file={file}',
        f"--gin.Files.path='{texts}'",
        f"--gin.Corpus.store_dir='{tmp_path / 'stores'}'",
        *more,
      ]
    )
    told = capfd.readouterr()
    return code, told.out, told.err

  return run


def test_without_devices_it_says_what_is_read(plan):
  code, out, _ = plan()
  assert code == 0
  assert 'mine' in out and '100.0%' in out  # the share of the one source
  assert '3e-3' in out and '1.65e-3' in out and '█' in out


def test_data_that_is_not_here_is_no_hindrance(plan, tmp_path):
  code, out, _ = plan(texts=tmp_path / 'nowhere')
  assert code == 0
  assert 'what is read is not known here' in out and 'nowhere' in out


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--search'], '--topology'),
    (['--slices=2'], '--topology'),
    (['--topology=v5q:4x4'], 'Did you mean'),
    (['--topology=v5p-128'], 'v5p:4x4x4'),
    (['--phase=bas'], 'Did you mean: base'),
  ],
)
def test_mistakes(plan, arguments, message):
  code, _, err = plan(*arguments)
  assert code == EXIT_MISTAKE
  assert message in err and 'Traceback' not in err


@needs_libtpu
def test_a_step_for_devices_that_are_not_here(plan):
  code, out, _ = plan('--topology=v5e:2x2')
  assert code == 0
  for word in ('parameters', 'temporaries', 'utilisation', 'steps a day'):
    assert word in out
  # Four devices, the batch of 16 rows among them.
  assert 'data 4' in out


@needs_libtpu
def test_slices_lie_on_the_data_axis(plan):
  code, out, _ = plan(
    '--topology=v5e:2x2',
    '--slices=2',
    '--gin.Mesh.data=2',
    '--gin.Mesh.fsdp=4',
  )
  assert code == 0
  assert 'data 2, fsdp 4' in out and '2 x v5e:2x2' in out
  code, _, err = plan(
    '--topology=v5e:2x2',
    '--slices=2',
    '--gin.Mesh.data=1',
    '--gin.Mesh.fsdp=8',
  )
  assert code == EXIT_MISTAKE and 'multiple of the 2 slices' in err


@needs_libtpu
def test_what_does_not_fit_is_told_with_what_may_help(plan):
  code, _, err = plan(
    '--topology=v5e:1x1',
    '--gin.SEQ_LEN=32768',
    '--gin.BATCH=64',
  )
  assert code == EXIT_DOES_NOT_FIT
  assert (
    'does not fit' in err and 'iB are needed, and there are 15.75GiB' in err
  )
  assert "Decoder.remat = 'full'" in err and '--search' in err


@needs_libtpu
def test_products_in_8_bits_are_shown(plan):
  code, out, _ = plan(
    '--topology=v5e:2x2',
    '--gin.BATCH=4',
    '--gin.SEQ_LEN=512',
    '--gin.Decoder.layers=2',
    '--gin.Decoder.embed=256',
    '--gin.Decoder.heads=4',
    '--gin.Decoder.kv_heads=2',
    '--gin.Decoder.mlp=1024',
    '--gin.Decoder.vocabulary=1024',
    file=ROOT / 'gin_configs' / 'runs' / 'pods' / 'llama3_1b_int8.gin',
  )
  assert code == 0
  assert 'in int8' in out and 'peaks in bfloat16 and int8' in out
