"""What every noiser promises; a new one adds a line to NOISERS."""

import json
import pathlib
import pickle

import numpy as np
import pytest

from tests.data.noise.made import (
  SPECIAL,
  make_keys,
  make_rows,
  make_segments,
  noised,
)
from tpu_lm import lineage
from tpu_lm.data.noise.bart import (
  Bart,
  TextInfilling,
  TokenDeletion,
  TokenMasking,
)
from tpu_lm.data.noise.base import MaskNoiser, PairNoiser, TextNoiser
from tpu_lm.data.noise.code_switch import CodeSwitch
from tpu_lm.data.noise.entities import Entities
from tpu_lm.data.noise.fill_in_the_middle import FillInTheMiddle
from tpu_lm.data.noise.masked_lm import MaskedLM
from tpu_lm.data.noise.mass import Mass
from tpu_lm.data.noise.mixed import Mixed, Part
from tpu_lm.data.noise.prefix import Prefix
from tpu_lm.data.noise.sentences import DocumentRotation, SentencePermutation
from tpu_lm.data.noise.span_corruption import SpanCorruption
from tpu_lm.data.noise.ul2 import UL2, UL2R
from tpu_lm.data.noise.units import GeometricSpans, Spans, WholeWords

LEXICON = str(pathlib.Path(__file__).with_name('lexicon.txt'))

NOISERS = [
  SpanCorruption(),
  SpanCorruption(0.5, 3.0),
  SpanCorruption(0.9, 1.0),
  SpanCorruption(0.15, 64.0, ends_in_text=True),
  Prefix(),
  Prefix(0.1, 0.9),
  Mass(),
  Mass(0.2),
  UL2(),
  UL2R(mode_tokens=False),
  Mixed((Part(UL2(), 1.0, 'mask'), Part(Mass(), 2.0), Part(Prefix(), 0.5))),
  TokenMasking(),
  TokenDeletion(),
  TextInfilling(),
  TextInfilling(0.5, 1.0, whole_words=False),
  SentencePermutation(),
  SentencePermutation(0.5),
  DocumentRotation(),
  Bart((SentencePermutation(), TextInfilling())),
  Bart((TokenDeletion(), DocumentRotation(0.5), TokenMasking())),
  CodeSwitch(LEXICON),
  CodeSwitch(LEXICON, 0.6, growth=0.0),
  MaskedLM(),
  MaskedLM(0.2, WholeWords(), mask=1.0, random=0.0),
  MaskedLM(units=Spans()),
  MaskedLM(0.5, GeometricSpans()),
  MaskedLM(units=Entities(('der', 'number', 'capitalised'), LEXICON)),
  MaskedLM(0.05, Entities((), LEXICON, whole=True), 0.5, 0.5),
  FillInTheMiddle(),
  FillInTheMiddle(1.0, 0.3, shortest=1),
]
# These may leave a row shorter than `sizes` says, whatever is drawn.
LOOSE = (TextInfilling, Bart, CodeSwitch)
LENGTHS = [*range(1, 25), 64, 100, 257, 512, 700]
every_noiser = pytest.mark.parametrize('noiser', NOISERS, ids=repr)
PAIRS = [noiser for noiser in NOISERS if isinstance(noiser, PairNoiser)]
every_pair_noiser = pytest.mark.parametrize('noiser', PAIRS, ids=repr)


@every_noiser
@pytest.mark.parametrize('length', [1, 2, 7, 200])
def test_a_row_depends_on_its_tokens_and_key_alone(noiser, length):
  rows, keys = make_rows(40, length), make_keys(40)
  rows.flags.writeable = keys.flags.writeable = False
  expected = noised(noiser, rows, keys)
  assert len(expected) == 40
  order = np.random.default_rng(1).permutation(40)
  for some in (order, order[:7], order[:1], np.arange(3, 9)):
    assert noised(noiser, rows[some], keys[some]) == [expected[i] for i in some]
  assert noised(noiser, rows[:0], keys[:0]) == []


@every_noiser
def test_other_keys_give_other_noise(noiser):
  rows = make_rows(60, 400)
  first, second = (noised(noiser, rows, make_keys(60, s)) for s in (0, 1))
  same = sum(a == b for a, b in zip(first, second, strict=True))
  assert same <= 30
  row = np.repeat(rows[:1], 60, axis=0)
  assert len({str(r) for r in noised(noiser, row, make_keys(60))}) > 15


@every_noiser
def test_only_declared_tokens_are_added(noiser):
  for length in (1, 2, 9, 300):
    made = noised(noiser, make_rows(200, length), make_keys(200))
    found = {i for row in made for part in row[:2] for i in np.ravel(part)}
    if isinstance(noiser, MaskNoiser | TextNoiser):
      found = {i for row in made for i in row[0]}
    sentinels = noiser.sentinels(length)
    known = {SPECIAL.id(name) for name in noiser.names}
    known |= {SPECIAL.sentinel(i) for i in range(sentinels)}
    above = {i for i in found if i >= SPECIAL.vocabulary_size}
    assert above <= known
    assert max(found) < SPECIAL.size(noiser.names, sentinels)
  assert above == known, 'not all that it declares is used'


@every_pair_noiser
def test_sizes_are_the_most_there_is(noiser):
  before = (0, 0)
  for length in LENGTHS:
    count = 300 if length < 25 else 30
    pairs = noiser.pairs(make_rows(count, length), make_keys(count), SPECIAL)
    sizes = noiser.sizes(length)
    most = (pairs.inputs.lengths.max(), pairs.targets.lengths.max())
    assert most[0] <= sizes[0] and most[1] <= sizes[1]
    together = (pairs.inputs.lengths + pairs.targets.lengths).max()
    assert together <= noiser.total(length)
    if length < 25 and not isinstance(noiser, LOOSE):
      assert most == sizes, length
      assert together == noiser.total(length), length
    assert sizes[0] >= before[0] and sizes[1] >= before[1]
    before = sizes


@every_pair_noiser
def test_sizes_never_fall(noiser):
  sizes = np.array([noiser.sizes(length) for length in range(1, 1500)])
  sentinels = [noiser.sentinels(length) for length in range(1, 1500)]
  assert np.all(np.diff(sizes, axis=0) >= 0)
  assert np.all(np.diff(sentinels) >= 0)


@every_pair_noiser
def test_pairs_have_the_promised_types(noiser):
  pairs = noiser.pairs(make_rows(50, 90), make_keys(50), SPECIAL)
  for ragged in (pairs.inputs, pairs.targets):
    assert ragged.tokens.dtype == np.int32 and ragged.tokens.ndim == 1
    assert ragged.lengths.dtype == np.int64
    assert ragged.lengths.shape == (50,)
    assert ragged.lengths.sum() == len(ragged.tokens)
  assert pairs.labels.dtype == np.int64
  assert set(pairs.labels.tolist()) <= set(range(len(noiser.labels)))
  assert len(set(noiser.labels)) == len(noiser.labels)
  if pairs.positions is not None:
    assert pairs.positions.dtype == np.int32
    assert pairs.positions.shape == pairs.targets.tokens.shape


@pytest.mark.parametrize(
  'noiser', [n for n in NOISERS if isinstance(n, TextNoiser)], ids=repr
)
def test_texts_have_the_promised_form(noiser):
  for length in LENGTHS:
    rows = make_rows(30, length)
    segments = make_segments(rows)
    text, documents = noiser.texts(rows, segments, make_keys(30), SPECIAL)
    assert text.tokens.dtype == documents.dtype == np.int32
    assert text.lengths.shape == (30,)
    assert text.lengths.sum() == len(text.tokens) == len(documents)
    assert text.lengths.max() <= noiser.size(length)
    stops = np.cumsum(text.lengths)
    for row, stop in enumerate(stops):
      here = documents[stop - text.lengths[row] : stop]
      assert here[0] == 1 and here[-1] == segments[row, -1]
      assert np.all(np.diff(here) >= 0)


@pytest.mark.parametrize(
  'noiser', [n for n in NOISERS if isinstance(n, MaskNoiser)], ids=repr
)
def test_masks_have_the_promised_form(noiser):
  for length in LENGTHS:
    rows = make_rows(30, length)
    segments = make_segments(rows)
    segments[::2, length - length // 3 :] = 0
    rows[segments == 0] = 0
    read, chosen = noiser.hide(rows, segments, make_keys(30), SPECIAL)
    assert read.dtype == np.int32 and chosen.dtype == bool
    assert read.shape == chosen.shape == rows.shape
    assert np.array_equal(read[~chosen], rows[~chosen])
    assert not chosen[segments == 0].any()


@every_noiser
def test_a_noiser_is_plain_data(noiser):
  written = json.dumps(lineage.definition(noiser))
  copy = pickle.loads(pickle.dumps(noiser))
  assert copy == noiser and hash(copy) == hash(noiser)
  noised(noiser, make_rows(3, 20), make_keys(3))
  assert json.dumps(lineage.definition(noiser)) == written
  others = [lineage.definition(other) for other in NOISERS if other != noiser]
  assert json.loads(written) not in others
