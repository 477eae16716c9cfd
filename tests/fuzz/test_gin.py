"""gin files and bindings: a run, or one line."""

import pathlib

import pytest
from hypothesis import strategies

from tests.fuzz.mutations import (
  amounts,
  broken,
  broken_text,
  fuzz,
  listing,
  told,
)
from tpu_lm import config

ROOT = pathlib.Path(__file__).parents[2]
RUNS = ('quickstart', 'files', 't5_micro', 'bert_micro', 'ul2r_micro')


def texts(name):
  """A shipped run and the operative configuration of it, all in one file."""
  path = ROOT / 'gin_configs' / 'runs' / f'{name}.gin'
  return path.read_text(), config.load([str(path)]).operative


@amounts(30)
@pytest.mark.parametrize('name', RUNS)
def test_files(name, examples, tmp_path):
  path = tmp_path / 'run.gin'

  def check(data):
    path.write_bytes(data if isinstance(data, bytes) else _encoded(data))
    before = listing(tmp_path)
    told(config.load, [str(path)])
    assert listing(tmp_path) == before

  ways = [
    way
    for text in texts(name)
    for way in (broken(text.encode()), broken_text(text))
  ]
  fuzz(check, strategies.one_of(ways), examples)


@amounts(100)
def test_bindings(examples):
  quickstart = str(ROOT / 'gin_configs' / 'runs' / 'quickstart.gin')
  lines = [line for line in texts('quickstart')[1].split('\n') if ' = ' in line]

  def check(binding):
    told(config.load, [quickstart], [binding.split('\n')[0]])

  ways = [
    strategies.sampled_from(lines).flatmap(broken_text),
    strategies.text(max_size=30),
  ]
  fuzz(check, strategies.one_of(ways), examples)


def _encoded(text):
  return text.encode(errors='surrogatepass')
