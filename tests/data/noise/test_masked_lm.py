"""What masked language modelling hides, and how much."""

import collections
import dataclasses
import itertools
import re

import numpy as np
import pytest

from tests.data.noise.made import SPECIAL, make_keys, make_rows, make_segments
from tpu_lm.checks import UserError
from tpu_lm.data.noise import units
from tpu_lm.data.noise.masked_lm import MaskedLM
from tpu_lm.data.noise.units import GeometricSpans, Spans, Tokens, WholeWords

MASK = SPECIAL.id('mask')
WORD = re.compile(r'[^\W_]+|[^\w\s]|_')
HIDE_ALL = {'mask': 1.0, 'random': 0.0}


def padded_rows(count, length, seed=0):
  """Rows with documents and padding of any length, but for a token."""
  rows = make_rows(count, length, seed)
  segments = make_segments(rows)
  used = np.random.default_rng(seed).integers(1, length + 1, count)
  segments[np.arange(length) >= used[:, None]] = 0
  rows[segments == 0] = 0
  return rows, segments


def words_of(row, segments):
  """The places of each word of a row of bytes, from a pattern."""
  found = []
  for document in np.unique(segments[segments > 0]):
    places = np.flatnonzero(segments == document)
    text = ''.join(chr(t - 3) if t > 1 else ' ' for t in row[places])
    for match in WORD.finditer(text):
      found.append([*range(places[0] + match.start(), places[0] + match.end())])
  return found


def budget_of(row, segments, rate):
  count = sum(s > 0 and t != SPECIAL.end for t, s in zip(row, segments))
  return min(max(1, round(rate * count)), count)


def test_tokens_as_many_as_the_rate_says():
  rng = np.random.default_rng(0)
  for case in range(1000):
    rate = rng.uniform(0.01, 1)
    rows, segments = padded_rows(2, int(rng.integers(1, 60)), case)
    noiser = MaskedLM(rate, **HIDE_ALL)
    read, chosen = noiser.hide(rows, segments, make_keys(2, case), SPECIAL)
    assert not chosen[(segments == 0) | (rows == SPECIAL.end)].any()
    assert np.array_equal(read, np.where(chosen, MASK, rows))
    for i in range(2):
      assert chosen[i].sum() == budget_of(rows[i], segments[i], rate)


def test_words_whole_and_none_that_would_fit_left_out():
  rng = np.random.default_rng(0)
  for case in range(1000):
    rate = rng.uniform(0.01, 1)
    rows, segments = padded_rows(2, int(rng.integers(1, 90)), case)
    noiser = MaskedLM(rate, WholeWords())
    _, chosen = noiser.hide(rows, segments, make_keys(2, case), SPECIAL)
    for row, segment, hidden in zip(rows, segments, chosen):
      budget = budget_of(row, segment, rate)
      words = words_of(row, segment)
      taken = [word for word in words if hidden[word].all()]
      left = [word for word in words if not hidden[word].any()]
      assert len(taken) + len(left) == len(words)
      assert sum(map(len, taken)) == hidden.sum() <= budget
      assert all(len(word) > budget - hidden.sum() for word in left)


def test_units_are_taken_as_one_by_one():
  rng = np.random.default_rng(0)
  for _ in range(1000):
    costs = rng.integers(0, 7, rng.integers(1, 12, 2)).astype(np.int32)
    budget = rng.integers(0, 20, len(costs))
    taken = units._afford(costs, budget)
    for row, left, found in zip(costs, budget, taken):
      for cost, one in zip(row, found):
        assert one == (0 < cost <= left)
        left -= cost * one


@pytest.mark.parametrize('kind', [Tokens(), WholeWords(), Spans()])
def test_every_unit_has_the_same_chance(kind):
  text = 'abc de f gh, ijk lm no p. q'
  row = np.array([*text.encode()], np.int32)[None] + 3
  rows = np.repeat(row, 20_000, axis=0)
  noiser = MaskedLM(0.25, kind)
  _, chosen = noiser.hide(rows, rows * 0 + 1, make_keys(20_000), SPECIAL)
  share = chosen.mean(0)
  if kind == Tokens():
    assert np.all(np.abs(share - 7 / 27) < 0.015)
  elif kind == WholeWords():
    # Words of one length have one chance; the passed over are longer ones.
    for size in (1, 2, 3):
      words = [w for w in words_of(row[0], row[0] * 0 + 1) if len(w) == size]
      chances = share[[word[0] for word in words]]
      assert np.ptp(chances) < 0.02
    assert share[3] == 0  # a space
  else:
    assert 0 < share[3] < share[0]  # the space within a span


@pytest.mark.parametrize(
  'kind, chances',
  [
    (Spans(), [6 / 11, 3 / 11, 2 / 11]),
    (Spans(1), [1.0]),
    (GeometricSpans(), 0.8 ** np.arange(10) * 0.2 / (1 - 0.8**10)),
    (GeometricSpans(0.5, 2), [2 / 3, 1 / 3]),
  ],
)
def test_spans_have_the_lengths_they_should(kind, chances):
  # Words of one letter each, so a span of n words has 2 n - 1 bytes.
  rows = np.tile(np.array([100, 35], np.int32), (400, 300))
  keys = make_keys(400)
  starts, hidden = kind.divide(rows, rows * 0 + 1, keys, SPECIAL)
  counts = collections.Counter()
  for begins, inside in zip(starts, hidden):
    places = np.append(np.flatnonzero(begins), 600)
    sizes = [int(inside[a:b].sum()) for a, b in itertools.pairwise(places)]
    assert all(
      inside[a] and not inside[b - 1] for a, b in itertools.pairwise(places)
    )
    counts.update(sizes[:-1])  # the last is cut off by the row's end
  total = sum(counts.values())
  found = [counts[2 * n + 1] / total for n in range(len(chances))]
  assert sum(found) == pytest.approx(1)
  assert np.allclose(found, chances, atol=0.012)


@pytest.mark.parametrize('kind', [WholeWords(), Spans(4), GeometricSpans()])
def test_spans_are_runs_of_words_of_one_document(kind):
  for case in range(300):
    rows, segments = padded_rows(2, 80, case)
    parts = kind.divide(rows, segments, make_keys(2, case), SPECIAL)
    for row, segment, starts, hidden in zip(rows, segments, *parts):
      firsts = {word[0]: word for word in words_of(row, segment)}
      lasts = {word[-1] for word in firsts.values()}
      assert starts[0]
      places = np.append(np.flatnonzero(starts), len(row))
      for begin, stop in itertools.pairwise(places):
        inside = begin + np.flatnonzero(hidden[begin:stop])
        if not len(inside):
          continue
        assert len(inside) == inside[-1] - inside[0] + 1
        assert inside[0] in firsts and inside[-1] in lasts
        assert len({*segment[inside]}) == 1
        if kind == WholeWords():
          assert [*inside] == firsts[inside[0]]
      covered = {place for word in firsts.values() for place in word}
      assert covered <= {*np.flatnonzero(hidden)}


def test_most_become_masks_some_others_and_some_stay():
  rows = make_rows(500, 400)
  noiser = MaskedLM(0.3)
  read, chosen = noiser.hide(rows, make_segments(rows), make_keys(500), SPECIAL)
  assert np.array_equal(read[~chosen], rows[~chosen])
  total = chosen.sum()
  masked = read[chosen] == MASK
  others = read[chosen][~masked]
  changed = others != rows[chosen][~masked]
  assert masked.sum() / total == pytest.approx(0.8, abs=0.01)
  assert changed.sum() / total == pytest.approx(0.1, abs=0.01)
  counts = np.bincount(others[changed], minlength=SPECIAL.vocabulary_size)
  assert len(counts) == SPECIAL.vocabulary_size
  assert np.all(np.abs(counts / changed.sum() - 1 / 259) < 0.004)


def test_without_masks_none_is_asked_for():
  assert MaskedLM(mask=0.0, random=1.0).names == ()
  assert MaskedLM().names == ('mask',)


def test_words_need_a_vocabulary_and_tokens_do_not():
  nothing = dataclasses.replace(SPECIAL, decode=None, encode=None)
  rows = make_rows(2, 30)
  MaskedLM().hide(rows, rows * 0 + 1, make_keys(2), nothing)
  with pytest.raises(UserError, match=r'Set Corpus\.vocabulary'):
    MaskedLM(units=Spans()).hide(rows, rows * 0 + 1, make_keys(2), nothing)


@pytest.mark.parametrize(
  'make, message',
  [
    (lambda: MaskedLM(0.0), r'MaskedLM\.rate = 0\.0'),
    (lambda: MaskedLM(1.1), r'MaskedLM\.rate = 1\.1'),
    (lambda: MaskedLM(units='words'), r"MaskedLM\.units = 'words'"),
    (lambda: MaskedLM(mask=-0.1), r'MaskedLM\.mask = -0\.1'),
    (lambda: MaskedLM(mask=1.0), r'MaskedLM\.random = 0\.1.*mask = 1\.0'),
    (lambda: Spans(0), r'Spans\.longest = 0'),
    (lambda: GeometricSpans(1.0), r'GeometricSpans\.p = 1\.0'),
    (lambda: GeometricSpans(longest=2.5), r'GeometricSpans\.longest = 2\.5'),
  ],
)
def test_mistakes_are_told(make, message):
  with pytest.raises(UserError, match=message):
    make()
