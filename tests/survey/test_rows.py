"""Packed rows put together again, spelled, and printed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.helpers import tiny_store
from tests.survey.printing import printed
from tpu_lm.data.layout import ENCODER, ENCODER_DECODER, Layout
from tpu_lm.data.noise.masked_lm import MaskedLM
from tpu_lm.data.rows import open_rows
from tpu_lm.data.special_tokens import SpecialTokens
from tpu_lm.data.vocabularies.bytes import Bytes
from tpu_lm.survey.rows import Row, legend, tokens_of
from tpu_lm.survey.spelling import END, spell

DECODE = Bytes().decode
PLAIN = st.text(st.characters(codec='utf-8', categories=['L', 'N', 'P', 'So']))


def encoded(text):
  return Bytes().encode([text])[0].tolist()


def row_of(store, number=0, length=16, mask=True):
  layout = Layout(length, mask_documents=mask)
  batch = open_rows(store, layout, 0, 'letters').read(np.array([number]))
  return {key: value[0] for key, value in batch.items()}


@given(st.lists(PLAIN, max_size=4))
def test_a_row_of_tokens_reads_as_its_text(texts):
  tokens = [token for text in texts for token in [*encoded(text), 1]]
  spelled = spell(DECODE, tokens, 1)
  assert len(spelled) == len(tokens)
  assert ''.join(spelled) == ''.join(text + END for text in texts)


def test_a_character_of_several_tokens_is_spelled_by_its_last():
  assert spell(DECODE, encoded('a🎈'), 1) == ['a', '', '', '', '🎈']


def test_bytes_that_are_no_text_are_shown():
  broken = encoded('a🎈')[:-1]
  assert ''.join(spell(DECODE, broken, 1)).startswith('a�')
  many = [0xA0 + 3] * 30
  assert len(''.join(spell(DECODE, many, 1))) >= 3


def test_signs_for_what_can_not_be_printed():
  tokens = encoded('a\tb\n\x1b[31m\u202e')
  assert ''.join(spell(DECODE, tokens, 1)) == r'a⇥b↵\x1b[31m\x202e'


def test_both_sides_of_an_encoder_decoder_are_shown(tmp_path):
  text = 'hello world, how do you do? ' * 40
  store = tiny_store(tmp_path, 'letters', [text])
  layout = Layout(24, ENCODER_DECODER, 8)
  special = SpecialTokens()
  rows = open_rows(store, layout, 0, 'letters', None, special.of)
  row = {key: value[0] for key, value in rows.read(np.arange(1)).items()}
  names = {special.of(store).sentinel(i): str(i) for i in range(100)}
  shown = Row('letters', row, DECODE, 1, names, ENCODER_DECODER)
  read, written = printed(shown).split('letters, ')[1:]
  assert read.startswith('read') and '0% with loss' in read
  assert written.startswith('written') and '<0>' in read and '<0>' in written
  inputs, spans = read.split('▌')[1].strip(), written.split('▌')[1].strip()
  hidden = spans.split('<0>')[1].split('<1>')[0].split('∎')[0]
  whole = inputs.strip('⟦⟧').replace('<0>', hidden).split('<1>')[0].rstrip('∎')
  assert whole.replace('\n', '') in text


def test_an_encoders_masks_are_shown_where_they_stand(tmp_path):
  store = tiny_store(tmp_path, 'letters', ['hello world ' * 40])
  special = SpecialTokens()
  layout = Layout(60, ENCODER)
  noiser = MaskedLM(mask=1.0, random=0.0)
  rows = open_rows(store, layout, 0, 'letters', noiser, special.of)
  row = {key: value[0] for key, value in rows.read(np.arange(1)).items()}
  names = {special.of(store).id('mask'): 'mask'}
  text = printed(Row('letters', row, DECODE, 1, names, ENCODER))
  assert text.count('<mask>') == (row['weights'] > 0).sum() == 9
  assert f'{9 / 60:.0%} with loss' in text


def test_numbers_where_there_is_no_vocabulary():
  assert spell(None, [5, 6, 1], 1) == ['5 ', '6 ', END]


def test_spaces_that_decoders_drop_at_a_start_are_kept():
  def decode(tokens):  # as SentencePiece decodes pieces that begin with spaces
    return ''.join(f' {token}' for token in tokens)[1:]

  assert spell(decode, [7, 8, 9], 1) == ['7', ' 8', ' 9']


@pytest.mark.parametrize('mask', [True, False])
def test_running_text_is_put_together_again(tmp_path, mask):
  store = tiny_store(tmp_path, 'letters', ['abc', 'defghijk', 'lmnop'])
  row = row_of(store, mask=mask)
  numbers = [token.number for token in tokens_of(row)]
  assert numbers == store.tokens(0, 17).tolist()
  losses = ''.join('.#'[token.loss] for token in tokens_of(row))
  expected = '.###.########.###' if mask else '.' + 16 * '#'
  assert losses == expected


@pytest.mark.parametrize('mask', [True, False])
def test_whole_examples_are_put_together_again(tmp_path, mask):
  texts = ['ab', 'cde', 'f']
  losses = [[False, True, True], [False, False, True, True], [False, True]]
  store = tiny_store(tmp_path, 'letters', texts, losses=losses, whole=True)
  tokens = tokens_of(row_of(store, length=10, mask=mask))
  found = ''.join(spell(DECODE, [token.number for token in tokens], 1))
  assert sorted(found.split(END)) == ['', 'ab', 'cde', 'f']
  flags = {DECODE(np.array([t.number])): t.loss for t in tokens if t.number > 2}
  assert flags == dict(zip('abcdef', [0, 1, 0, 0, 1, 0]))


def test_a_row_without_colours(tmp_path):
  losses = [[False, False, True, True]]
  store = tiny_store(tmp_path, 'letters', ['abc'], losses=losses, whole=True)
  row = row_of(store, length=5)
  text = printed(Row('letters, row 0', row, DECODE, 1))
  assert text.splitlines() == [
    'letters, row 0  5 positions: one document, 40% with loss, 40% padding',
    '▌⟦ab⟧c∎ 2 positions of padding',
  ]


def test_a_row_in_colours(tmp_path):
  store = tiny_store(tmp_path, 'letters', ['ab', 'cdefghijklmnop'])
  text = printed(Row('', row_of(store), DECODE, 1), colours=True)
  assert '⟦' not in text
  grey, cyan, magenta = '\x1b[90m', '\x1b[36m', '\x1b[35m'
  assert f'{grey}a' in text and f'{cyan}▌' in text
  assert f'{magenta}▌' in text and f'{grey}c' in text


def test_a_long_row_is_cut(tmp_path):
  store = tiny_store(tmp_path, 'letters', ['x' * 4000])
  text = printed(Row('', row_of(store, length=3000), DECODE, 1))
  assert '… 1,804 characters more' in ' '.join(text.split())


def test_text_that_looks_like_markup_is_left_alone(tmp_path):
  store = tiny_store(tmp_path, 'letters', ['[bold]not[/bold] [link=x]'])
  row = row_of(store, length=25)
  assert '[/bold] [link=x]' in printed(Row('[red]', row, DECODE, 1))


def test_the_legend():
  assert '⟦read without loss⟧' in printed(legend())
  assert '⟦' not in printed(legend(), colours=True)
