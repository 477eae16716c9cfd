import numpy as np

from tpu_lm.data import progress


def test_lines_where_there_is_no_terminal(capsys, monkeypatch):
  monkeypatch.setattr(progress, 'SECONDS_BETWEEN_LINES', 0.0)
  documents = [np.zeros(1000), np.zeros(500)]
  passed = list(progress.watch(documents, 'prose/train', total=2))
  assert [len(document) for document in passed] == [1000, 500]
  told = capsys.readouterr().err.splitlines()
  assert told[0].startswith('prose/train: 1 of 2 documents, ')
  assert told[0].endswith(' M tokens/s')
  assert told[-1].startswith('prose/train: done, 1,500 tokens in 2 documents')


def test_a_bar_in_a_terminal(capsys, monkeypatch):
  monkeypatch.setenv('FORCE_COLOR', '1')
  monkeypatch.setenv('TERM', 'xterm')
  list(progress.watch([np.zeros(1000)], 'prose/train', total=1))
  told = capsys.readouterr().err
  assert '━' in told
  assert '1 documents' in told
