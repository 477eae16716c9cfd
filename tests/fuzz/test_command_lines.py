"""Random command lines: exit code 2 and one line, and nothing is left."""

import contextlib
import io
import pathlib

import pytest
from hypothesis import strategies

from tests.fuzz.mutations import amounts, fuzz, listing
from tpu_lm import cli

ROOT = pathlib.Path(__file__).parents[2]
FILES = (
  f'--gin_file={ROOT}/gin_configs/runs/files.gin',
  "--gin.Files.path='nowhere'",
)
# Refused all the same, once the data are looked for; two look for none.
LINES = (
  ('train', *FILES, '--run_dir=new'),
  ('train', *FILES, '--run_dir=new', '--dry_run'),
  ('plan', *FILES),
  ('plan', *FILES, '--topology=v9:4x4', '--phase=base'),
  ('data', *FILES, '--rows=1', '--output=page.html'),
  ('data', '--module=tests.no_such_module', 'prose', '--sequence_length=16'),
  ('cache', *FILES, '--split=train', '--processes=1'),
  ('tokenizer', 'train', *FILES, '--output=x.model', '--size=300'),
  ('report', 'folder'),
  ('checkpoints', 'folder', '--verify', '--pin=base/12'),
)
CHECKS = ('--dry_run', 'plan')
COMMANDS = ('train', 'plan', 'report', 'verify-resume', 'data', 'cache')
COMMANDS += ('checkpoints',)
OPTIONS = (
  '--gin_file',
  '--gin.Run.seed',
  '--gin.Files.path',
  '--gin.STEPS',
  '--gin.',
  '--run_dir',
  '--dry_run',
  '--stop_after',
  '--steps',
  '--keep',
  '--verify',
  '--pin',
  '--unpin',
  '--topology',
  '--slices',
  '--phase',
  '--search',
  '--module',
  '--store_dir',
  '--split',
  '--processes',
  '--beam',
  '--rows',
  '--sequence_length',
  '--contamination',
  '--output',
  '--size',
  '--kind',
  '--sample_megabytes',
  '--seed',
  '--coordinator',
  '--x',
  '-h0',
)
VALUES = (
  '',
  ' ',
  '-1',
  '0',
  '1.5',
  'nan',
  '9' * 400,
  'x',
  'nowhere.gin',
  'empty.gin',
  'broken.gin',
  'binary.gin',
  'folder',
  'file',
  'file/below',
  'a\nb',
  '\udcff',
  'v9:0x-1',
  'gs://',
  'x://y',
  'tests.no_such_module',
  'x.model',
  "'x'",
  '@x()',
  '%X',
)


@strategies.composite
def lines(draw):
  """Words of which some are commands, options and values of options."""
  words = [draw(strategies.sampled_from((*COMMANDS, 'tokenizer', 'x', '')))]
  if words == ['tokenizer']:
    words.append(draw(strategies.sampled_from(('train', 'x'))))
  for _ in range(draw(strategies.integers(0, 5))):
    value = draw(
      strategies.one_of(
        strategies.sampled_from(VALUES), strategies.text(max_size=6)
      )
    )
    option = draw(strategies.sampled_from(OPTIONS))
    match draw(strategies.integers(0, 3)):
      case 0:
        words.append(f'{option}={value}')
      case 1:
        words += [option, value]
      case 2:
        words.append(value)
      case 3:
        words.append(option)
  return words


@strategies.composite
def broken_lines(draw):
  """Lines that are right, with some of their words changed."""
  words = [*draw(strategies.sampled_from(LINES))]
  for _ in range(draw(strategies.integers(0, 3))):
    # A command that is not known ends all, so its name mostly stays.
    at = draw(strategies.sampled_from([*range(len(words)), *range(1, 9)]))
    at = min(at, len(words) - 1)
    value = draw(strategies.sampled_from(VALUES))
    option = draw(strategies.sampled_from(OPTIONS))
    match draw(strategies.integers(0, 5)):
      case 0:
        words[at] = f'{words[at].partition("=")[0]}={value}'
      case 1:
        words[at] = value
      case 2:
        words.insert(at, option)
      case 3:
        words.insert(at, f'{option}={value}')
      case 4 if len(words) > 1:
        del words[at]
      case 5:
        words[at] = words[at][: len(words[at]) // 2]
  return words


@pytest.fixture
def folder(tmp_path, tmp_path_factory, monkeypatch):
  """A working folder with files that can't be used."""
  home = tmp_path_factory.mktemp('home')
  (tmp_path / 'folder').mkdir()
  (tmp_path / 'file').write_text('text')
  (tmp_path / 'empty.gin').write_text('')
  (tmp_path / 'broken.gin').write_text('phase.Run.seed = (1')
  (tmp_path / 'binary.gin').write_bytes(b'\xff\0')
  monkeypatch.chdir(tmp_path)
  # Libraries keep lists of fonts and the like at home, whatever comes of it.
  monkeypatch.setenv('HOME', str(home))
  return tmp_path


@amounts(200)
def test_command_lines(folder, examples):
  before, home = listing(folder), pathlib.Path.home()

  def check(words):
    output = io.StringIO()
    with (
      contextlib.redirect_stderr(output),
      contextlib.redirect_stdout(io.StringIO()),
    ):
      try:
        code = cli.main([*words])
      except SystemExit as stopped:
        code = stopped.code
    text = output.getvalue()
    if code == 0 and any(word in words for word in CHECKS):
      return
    assert code == 2, (words, code, text)
    told = text.strip().splitlines()[-1]
    assert told.startswith('tpu-lm'), (words, text)
    assert 'Traceback' not in text, (words, text)
    assert listing(folder) == before, words
    assert not (home / '.cache' / 'tpu_lm').exists(), words

  for words in LINES:
    check(words)
  fuzz(check, strategies.one_of(lines(), broken_lines()), examples)
