import dataclasses
import itertools

import numpy as np
import pytest

from tests.data.helpers import counting_documents, tiny_corpus, tiny_store
from tpu_lm.checks import UserError
from tpu_lm.data.batches import BatchBuilder
from tpu_lm.data.layout import (
  DECODER,
  ENCODER,
  ENCODER_DECODER,
  PREFIX_DECODER,
  Layout,
)
from tpu_lm.data.ledger import Ledger
from tpu_lm.data.mixing import Mixture
from tpu_lm.data.noise.fill_in_the_middle import FillInTheMiddle
from tpu_lm.data.noise.masked_lm import MaskedLM
from tpu_lm.data.noise.mixed import Mixed, Part
from tpu_lm.data.noise.prefix import Prefix
from tpu_lm.data.noise.span_corruption import SpanCorruption
from tpu_lm.data.noised import NoisedRows, targets_needed, text_length
from tpu_lm.data.opened import settled
from tpu_lm.data.replay import Replay
from tpu_lm.data.rows import open_rows
from tpu_lm.data.special_tokens import SpecialTokens
from tpu_lm.data.validation import validation_batches
from tpu_lm.data.weights import UniMax

T5 = Layout(512, ENCODER_DECODER, 114)


def special(store):
  return SpecialTokens().of(store)


@pytest.fixture(scope='module')
def store(tmp_path_factory):
  """10,000 tokens that all differ, so that rows can be recognised."""
  folder = tmp_path_factory.mktemp('store')
  documents = [[*d, 1] for d in counting_documents(100, 99, start=2)]
  return tiny_store(folder, 'numbers', documents, vocabulary_size=12_000)


def test_lengths_are_t5s(store):
  assert targets_needed(SpanCorruption(), 512) == 114
  assert text_length(SpanCorruption(), T5) == 568
  rows = open_rows(store, T5, 0, 'n', special_tokens=special)
  assert (rows.label, rows.objectives) == ('568', ('span_corruption',))
  assert rows.vocabulary_size == 12_100
  batch = rows.read(np.arange(5))
  assert batch['encoder_segments'].all() and batch['segments'].all()


def test_an_epoch_reads_everything(store):
  layout = Layout(64, ENCODER_DECODER, 16)
  rows = open_rows(store, layout, 0, 'n', special_tokens=special)
  seen = []
  for epoch in range(2):
    batch = rows.read(
      epoch * rows.rows_per_epoch + np.arange(rows.rows_per_epoch)
    )
    tokens = np.concatenate(
      [batch['encoder_inputs'].ravel(), batch['targets'].ravel()]
    )
    text = set(tokens[(tokens > 1) & (tokens < 12_000)].tolist())
    assert text == set(range(2, 9902))
    seen.append(batch['encoder_inputs'])
  assert not np.array_equal(*seen)


@pytest.mark.parametrize('kind', [DECODER, PREFIX_DECODER, ENCODER_DECODER])
def test_rows_are_a_function_of_their_number(store, kind):
  noiser = Mixed((Part(SpanCorruption()), Part(Prefix(), 1.0, 'mode_s')))
  layout = Layout(64, kind, 64 if kind == ENCODER_DECODER else None)
  rows = open_rows(store, layout, 0, 'n', noiser, special)
  cursors = np.array([90, 3, 3, 1234])
  batch = rows.read(cursors)
  for place, cursor in enumerate(cursors):
    alone = rows.read(np.array([cursor]))
    for key, value in batch.items():
      assert np.array_equal(value[place], alone[key][0]), key
  others = [open_rows(store, layout, 1, 'n', noiser, special)]
  others.append(open_rows(store, layout, 0, 'm', noiser, special))
  for other in others:
    assert not np.array_equal(other.read(cursors)['inputs'], batch['inputs'])


def test_a_decoder_reads_the_one_and_writes_the_other(store):
  layout = Layout(64)
  rows = NoisedRows(store, layout, 0, 'n', Prefix(), special(store))
  batch = rows.read(np.arange(200))
  assert rows.label == '64'
  tokens = np.concatenate([batch['inputs'], batch['targets'][:, -1:]], 1)
  assert np.all(tokens[:, -1] == 1)
  # 63 tokens of text follow each other, but for documents' ends.
  steps = np.diff(tokens[:, :-1], axis=1)
  assert np.all((steps == 1) | (tokens[:, 1:-1] == 1) | (tokens[:, :-2] == 1))
  splits = (batch['weights'] > 0).argmax(axis=1) + 1
  assert len(set(splits.tolist())) > 30


def test_an_encoder_has_masks(store):
  layout = Layout(64, ENCODER)
  rows = open_rows(store, layout, 0, 'n', special_tokens=special)
  assert rows.objectives == ('masked_lm',)
  batch = rows.read(np.arange(rows.rows_per_epoch))
  chosen = batch['weights'] > 0
  kept = batch['inputs'] == batch['targets']
  assert np.all(kept | chosen)
  assert 0.1 < chosen.mean() < 0.2
  masks = batch['inputs'][chosen] == special(store).id('mask')
  assert 0.7 < masks.mean() < 0.9
  plain = open_rows(store, Layout(64), 0, 'n').read(np.arange(5))
  assert np.array_equal(batch['targets'][:5], plain['inputs'])
  assert np.array_equal(batch['segments'][:5], plain['segments'])


def test_whole_examples_are_masked_too(tmp_path):
  documents = [[*range(5, 5 + n), 1] for n in range(4, 40)]
  store = tiny_store(tmp_path, 'w', documents, whole=True)
  rows = open_rows(store, Layout(48, ENCODER), 0, 'w', MaskedLM(), special)
  batch = rows.read(np.arange(rows.rows_per_epoch))
  assert batch['segments'].max() > 1
  assert not batch['weights'][batch['segments'] == 0].any()
  assert batch['weights'].any()


def test_fill_in_the_middle_goes_through(store):
  rows = open_rows(
    store, Layout(256), 0, 'n', FillInTheMiddle(rate=1.0), special
  )
  batch = rows.read(np.arange(rows.rows_per_epoch))
  prefixes = batch['inputs'] == special(store).id('fim_prefix')
  assert prefixes.sum() > 50
  same = batch['segments'][:, 1:] == batch['segments'][:, :-1]
  both = batch['segments'][:, 1:] > 0
  assert np.array_equal(batch['weights'][:, :-1] > 0, same & both) or np.all(
    (batch['weights'][:, :-1] > 0)[both] == same[both]
  )


@pytest.mark.parametrize(
  ('kind', 'noiser', 'message'),
  [
    (
      DECODER,
      MaskedLM(),
      'MaskedLM is .* encoder, not decoder',
    ),
    (
      ENCODER,
      SpanCorruption(),
      'or encoder_decoder, not encoder',
    ),
    (ENCODER_DECODER, FillInTheMiddle(), 'FillInTheMiddle .* not enc'),
  ],
)
def test_noise_for_another_kind_of_model_is_told(store, kind, noiser, message):
  with pytest.raises(UserError, match=message):
    open_rows(store, Layout(64, kind), 0, 'n', noiser, special)


def test_too_little_text_is_told(tmp_path):
  store = tiny_store(tmp_path, 'x', [[5, 6, 7, 1]])
  with pytest.raises(
    UserError, match=r'x \(train\) has 4 tokens; .* takes 568'
  ):
    open_rows(store, T5, 0, 'x', None, special)
  with pytest.raises(UserError, match='not one token of text fits'):
    layout = Layout(64, ENCODER_DECODER, 1)
    open_rows(store, layout, 0, 'x', SpanCorruption(), special)


def test_whole_examples_take_no_noise(tmp_path):
  store = tiny_store(tmp_path, 'w', [[5, 6, 1]], whole=True)
  with pytest.raises(UserError, match='is for running text'):
    open_rows(store, Layout(64), 0, 'w', Prefix(), special)


@pytest.fixture
def corpus(tmp_path):
  corpus = tiny_corpus(
    tmp_path,
    {
      'prose': ['once upon a time there was a row'] * 60,
      'code': ['x = 1'] * 300,
    },
  )
  losses = [[False] * 5 + [True] * 4] * 80
  for split in ('train', 'validation'):
    tiny_store(
      tmp_path,
      'pairs',
      [[*range(10, 18), 1]] * 80,
      split,
      losses=losses,
      whole=True,
    )
  return corpus


MIXTURE = Mixture(
  weights={'prose': 2.0, 'code': 1.0, 'pairs': 1.0},
  noise={
    'prose': SpanCorruption(),
    'code': Mixed((Part(Prefix()), Part(SpanCorruption(), label='R'))),
  },
)
LAYOUT = Layout(48, ENCODER_DECODER, 40)


def test_sources_with_objectives_of_their_own_meet_in_a_batch(corpus):
  builder = BatchBuilder(corpus, MIXTURE, 16, LAYOUT, Ledger())
  assert builder.series == (
    ('code', 'prefix'),
    ('code', 'R'),
    ('pairs', 'pairs'),
    ('prose', 'span_corruption'),
  )
  assert builder.vocabulary_size == 259 + 100
  batch, ledger = builder.next(0, Ledger())
  assert batch['encoder_inputs'].shape == (16, 48)
  assert batch['inputs'].shape == batch['weights'].shape == (16, 40)
  counts = np.bincount(batch['source'], minlength=4)
  assert counts[3] == 8 and counts[2] == 4 and counts[:2].sum() == 4
  text = {
    name: text_length(MIXTURE.noise_of(name, False), LAYOUT)
    for name in ('prose', 'code')
  }
  assert ledger.rows == {
    f'prose@{text["prose"]}': 8,
    f'code@{text["code"]}': 4,
    'pairs@48+40': 4,
  }
  assert ledger.tokens == {
    'prose': 8 * text['prose'],
    'code': 4 * text['code'],
    'pairs': 4 * 88,
  }


def test_any_batch_size_any_host_and_any_restart(corpus):
  def read(batch_size, steps, hosts=1):
    ledger, rows = Ledger(), []
    for step in range(steps):
      parts = []
      for host in range(hosts):
        builder = BatchBuilder(
          corpus,
          MIXTURE,
          batch_size,
          LAYOUT,
          Ledger(),
          own=np.split(np.arange(batch_size), hosts)[host],
        )
        part, after = builder.next(step, ledger)
        parts.append(part)
      ledger = after
      rows += [{key: np.concatenate([p[key] for p in parts]) for key in part}]
    return {k: np.concatenate([row[k] for row in rows]) for k in rows[0]}

  one = read(12, 4)
  for other in (read(6, 8), read(24, 2, hosts=3)):
    for key, value in one.items():
      assert np.array_equal(value, other[key]), key


def test_what_was_read_under_noise_is_replayed(corpus):
  builder = BatchBuilder(corpus, MIXTURE, 8, LAYOUT, Ledger())
  ledger, first = Ledger(), []
  for step in range(4):
    batch, ledger = builder.next(step, ledger)
    first += list(zip(batch['source'], map(bytes, batch['encoder_inputs'])))
  again = dataclasses.replace(
    MIXTURE, replay=Replay(fraction=1.0, order='seen')
  )
  child = BatchBuilder(corpus, again, 8, LAYOUT, ledger)
  seen = {row for _, row in first}
  for step in range(4):
    batch, ledger = child.next(step, ledger)
    assert {bytes(row) for row in batch['encoder_inputs']} <= seen
  assert all(key.startswith('replay:') for key in set(ledger.rows) - {
    'prose@' + str(text_length(SpanCorruption(), LAYOUT)), 'pairs@48+40',
    *[key for key in ledger.rows if key.startswith('code@')],
  })  # fmt: skip
  other = dataclasses.replace(again, noise=None)
  with pytest.raises(UserError, match='was read at sequence length'):
    BatchBuilder(corpus, other, 8, Layout(20), ledger)


def test_validation_rows_are_noised_and_fixed(corpus):
  batches, objectives = validation_batches(
    corpus, 'code', 12, 8, LAYOUT, MIXTURE
  )
  again, _ = validation_batches(corpus, 'code', 12, 8, LAYOUT, MIXTURE)
  assert objectives == ('prefix', 'R')
  for one, other in itertools.zip_longest(batches, again):
    for key, value in one.items():
      assert np.array_equal(value, other[key]), key
  drawn = np.concatenate([batch['source'] for batch in batches])
  assert set(drawn.tolist()) == {0, 1}


def test_bad_noise_is_told():
  for noise in (3, {'prose': 'prefix'}, SpanCorruption):
    with pytest.raises(UserError, match=r'Mixture.noise.*must be of noise/'):
      Mixture({'prose': 1}, noise=noise)


def test_the_targets_length_is_what_the_own_sources_need(corpus):
  def target(weights, noise=None, kind=ENCODER_DECODER, length=512):
    mixture = Mixture(dict.fromkeys(weights, 1.0), noise=noise)
    return settled(corpus, mixture, Layout(length, kind)).target_length

  assert target(['prose']) == target(['prose', 'code']) == 114
  assert target(['prose'], Prefix()) == 512
  assert target(['prose', 'pairs']) == target(['pairs']) == 512
  assert target(['prose'], kind=DECODER) is None
  fixed = Layout(512, ENCODER_DECODER, 99)
  assert settled(corpus, MIXTURE, fixed) == fixed
  with pytest.raises(UserError, match='not encoder_decoder'):
    target(['prose'], FillInTheMiddle())


def test_one_noiser_for_all_leaves_whole_examples_as_they_are(corpus):
  mixture = Mixture({'prose': 1.0, 'pairs': 1.0}, noise=Prefix())
  builder = BatchBuilder(corpus, mixture, 4, LAYOUT, Ledger())
  assert [series[1] for series in builder.series] == ['pairs', 'prefix']
  named = Mixture({'pairs': 1.0}, noise={'pairs': Prefix()})
  with pytest.raises(UserError, match='Leave it out of'):
    BatchBuilder(corpus, named, 4, LAYOUT, Ledger())


def test_weights_by_size_count_the_tokens_of_a_row(corpus):
  sources = ('prose', 'code')
  mixture = Mixture(UniMax(sources, 1.0), noise=SpanCorruption())
  layout = Layout(24, ENCODER_DECODER, 8)
  length = text_length(SpanCorruption(), layout)
  total = sum(corpus.open(name, 'train').num_tokens for name in sources)
  steps = total // (4 * length)
  builder = BatchBuilder(corpus, mixture, 4, layout, Ledger(), steps=steps)
  end = builder.foresee(0, Ledger())
  for name in sources:
    epochs = end.rows[f'{name}@{length}'] / builder.rows_per_epoch[name]
    assert 0.95 < epochs < 1.05, name
  mixed = Mixture(UniMax(sources, 1.0), noise={'prose': Prefix()})
  with pytest.raises(UserError, match='by the noise of their source'):
    BatchBuilder(corpus, mixed, 4, layout, Ledger(), steps=steps)
