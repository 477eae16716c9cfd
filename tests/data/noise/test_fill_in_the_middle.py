"""Documents whose middle comes last."""

import numpy as np
import pytest

from tests.data.noise.made import (
  BYTES,
  SPECIAL,
  make_keys,
  make_rows,
  make_segments,
  split,
)
from tpu_lm.checks import UserError
from tpu_lm.data.noise.fill_in_the_middle import FillInTheMiddle

P, S, M = (SPECIAL.id(f'fim_{name}') for name in ('prefix', 'suffix', 'middle'))


def parts_of(body):
  """Form, prefix, middle and suffix of a document without its end mark."""
  if P not in body:
    return '', [], [], body
  s, m = body.index(S), body.index(M)
  assert body[0] == P and s < m
  before, after, last = body[1:s], body[s + 1 : m], body[m + 1 :]
  if s == 1:  # perhaps the prefix is empty: the two forms are then the same
    return 'suffix first', [], last, after
  return 'prefix first', before, last, after


def documents_of(noiser, rows, segments, keys):
  """Each row's documents before and after."""
  text, numbers = noiser.texts(rows, segments, keys, SPECIAL)
  for row, segment, new, number in zip(
    rows, segments, split(text), split(text, numbers)
  ):
    new, number = np.array(new), np.array(number)
    assert np.array_equal(np.unique(number), np.unique(segment))
    yield [
      (row[segment == i].tolist(), new[number == i].tolist())
      for i in np.unique(segment)
    ]


def test_the_text_comes_back():
  forms = []
  for case in range(1000):
    rng = np.random.default_rng(case)
    shortest = int(rng.integers(1, 20))
    noiser = FillInTheMiddle(rng.uniform(0.1, 1), rng.uniform(), shortest)
    rows = make_rows(2, int(rng.integers(1, 120)), case)
    segments = make_segments(rows)
    if case % 2:  # documents need not end in the end mark
      segments = np.cumsum(rng.random(rows.shape) < 0.05, axis=1) + 1
    made = documents_of(noiser, rows, segments, make_keys(2, case))
    for documents in made:
      total = 0
      for before, after in documents:
        total += len(after)
        closed = before[-1] == SPECIAL.end
        body, end = (after[:-1], after[-1:]) if closed else (after, [])
        form, prefix, middle, suffix = parts_of(body)
        forms.append(form)
        assert prefix + middle + suffix + end == before
        assert len(after) - len(before) == (3 if forms[-1] else 0)
        assert len(before) >= shortest or not forms[-1]
      assert total <= noiser.size(rows.shape[1])
  assert {*forms} == {'', 'prefix first', 'suffix first'}


def test_the_most_there_can_be_is_reached():
  row = np.tile(np.array([50, 51, SPECIAL.end], np.int32), (4, 10))
  noiser = FillInTheMiddle(1.0, shortest=3)
  text, _ = noiser.texts(row, make_segments(row), make_keys(4), SPECIAL)
  assert text.lengths.tolist() == [noiser.size(30)] * 4 == [60] * 4


@pytest.mark.parametrize('rate, spm_rate', [(0.5, 0.5), (0.9, 0.2), (1.0, 1.0)])
def test_both_forms_have_their_shares(rate, spm_rate):
  row = np.arange(3, 53, dtype=np.int32)
  rows = np.repeat(row[None], 20_000, axis=0)
  noiser = FillInTheMiddle(rate, spm_rate, shortest=50)
  made = documents_of(noiser, rows, rows * 0 + 1, make_keys(20_000))
  forms = [parts_of(documents[0][1])[0] for documents in made]
  # An empty prefix makes prefix first look like suffix first.
  empty = (2 * 51 - 1) / 51**2
  share = forms.count('prefix first') / len(forms)
  wanted = rate * (1 - spm_rate) * (1 - empty)
  assert share == pytest.approx(wanted, abs=0.012)
  assert forms.count('') / len(forms) == pytest.approx(1 - rate, abs=0.012)


def test_cuts_are_anywhere_alike():
  row = np.append(np.arange(3, 12, dtype=np.int32), SPECIAL.end)
  rows = np.repeat(row[None], 40_000, axis=0)
  noiser = FillInTheMiddle(1.0, 0.0, shortest=1)
  keys = make_keys(40_000)
  counts = np.zeros((10, 10))
  for documents in documents_of(noiser, rows, rows * 0 + 1, keys):
    _, prefix, middle, _ = parts_of(documents[0][1][:-1])
    counts[len(prefix), len(prefix) + len(middle)] += 1
  # Two cuts, each at any of ten places.
  wanted = np.triu(np.full((10, 10), 2.0), 1) + np.eye(10)
  assert np.all(np.abs(counts / 40_000 - wanted / 100) < 0.004)


def test_documents_of_a_row_are_cut_by_themselves():
  document = np.append(np.arange(3, 82, dtype=np.int32), SPECIAL.end)
  rows = np.tile(document, (500, 3))
  made = documents_of(
    FillInTheMiddle(1.0), rows, make_segments(rows), make_keys(500)
  )
  same = [len({str(after) for _, after in row}) for row in made]
  assert same.count(3) > 480


def test_the_form_is_the_papers():
  text = BYTES.encode(['abcdefgh'])[0][None]
  for spm_rate, marks in [
    (
      0.0,
      '<P>',
    ),
    (1.0, '<P><S>'),
  ]:
    noiser = FillInTheMiddle(1.0, spm_rate, shortest=1)
    made, _ = noiser.texts(text, text * 0 + 1, make_keys(1, 5), SPECIAL)
    names = {P: '<P>', S: '<S>', M: '<M>'}
    written = ''.join(names.get(t) or chr(t - 3) for t in made.tokens.tolist())
    assert written.startswith(marks)
    parts = written.replace('<P>', '').replace('<S>', '|').replace('<M>', '|')
    first, suffix, last = parts.split('|')
    assert first + last + suffix == 'abcdefgh'
    assert not first if spm_rate else first


@pytest.mark.parametrize(
  'fields, message',
  [
    ({'rate': 0.0}, r'FillInTheMiddle\.rate = 0\.0'),
    ({'rate': 1.2}, r'FillInTheMiddle\.rate = 1\.2'),
    ({'spm_rate': -0.5}, r'FillInTheMiddle\.spm_rate = -0\.5'),
    ({'spm_rate': 2}, r'FillInTheMiddle\.spm_rate = 2'),
    ({'shortest': 0}, r'FillInTheMiddle\.shortest = 0'),
    ({'shortest': 1.5}, r'FillInTheMiddle\.shortest = 1\.5'),
  ],
)
def test_mistakes_are_told(fields, message):
  with pytest.raises(UserError, match=message):
    FillInTheMiddle(**fields)
