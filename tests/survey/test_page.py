"""The whole survey, on a terminal and as a page."""

import json

import pytest

from tests.tiny import tree_run
from tpu_lm.checks import UserError
from tpu_lm.data.contamination import Contamination
from tpu_lm.data.corpus import Corpus
from tpu_lm.data.examples.pair import Pair
from tpu_lm.data.sources.files import Files
from tpu_lm.stages import lay_out
from tpu_lm.survey.page import overlap, show, survey


@pytest.fixture
def corpus(tmp_path):
  path = tmp_path / 'sums.jsonl'
  sums = [
    {'question': f'What is <b>{i}</b> and {i}? ', 'answer': f'It is {2 * i}.'}
    for i in range(300)
  ]
  path.write_text(''.join(json.dumps(one) + '\n' for one in sums))
  pair = Pair('question', 'answer', separator='')
  return Corpus(
    files=(Files('sums', str(path), example=pair),),
    store_dir=str(tmp_path / 'stores'),
  )


def test_a_mixture_without_a_run(corpus, capsys, tmp_path):
  output = tmp_path / 'page.html'
  show(survey(corpus, ['sums'], sequence_length=64, rows=2), output)
  text = capsys.readouterr().out
  for part in ('Sources', 'Tokens a document', 'sums, row 1', 'validation'):
    assert part in text
  assert '▌⟦What is <b>' in text and '⟧It is ' in text
  assert 'reads' not in text
  page = output.read_text()
  assert page.startswith('<!DOCTYPE html>') and 'sums, row 1' in page
  assert '&lt;b&gt;' in page and '<b>' not in page


def test_a_run_shows_its_own_rows(tmp_path, capsys):
  run = tree_run(tmp_path / 'stores')
  names = ['letters', 'code']
  stages = lay_out(run, tmp_path / 'run')
  show(survey(run.corpus, names, run, stages, rows=1))
  text = capsys.readouterr().out
  assert 'What the phases of tiny read' in text
  assert 'base_annealed' in text and 'replay:letters' in text
  # No vocabulary is at hand: numbers. The run's sequences are of 16.
  assert 'code, row 0  16 positions' in text and '⟧104 ' in text


def test_rows_that_do_not_fit_are_told(corpus, capsys):
  show(survey(corpus, ['sums'], sequence_length=8))
  assert 'fits whole into a row' in ' '.join(capsys.readouterr().out.split())


def test_contamination(corpus, capsys):
  check = Contamination(corpus.files)
  show(overlap(corpus, ['sums'], check))
  assert 'sums' in capsys.readouterr().out


def test_a_page_into_no_folder(tmp_path):
  with pytest.raises(UserError, match='there is no folder'):
    show([], tmp_path / 'missing' / 'page.html')
