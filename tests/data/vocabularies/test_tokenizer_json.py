import gzip
import json
import pathlib

import numpy as np
import pytest

from tpu_lm.checks import UserError
from tpu_lm.data.vocabularies import tokenizer_json
from tpu_lm.data.vocabularies.tokenizer_json import TokenizerJson

REAL = pathlib.Path(__file__).parents[4] / 'shared' / 'data' / 'tokenizers'
GPT2 = REAL / 'gpt2.tokenizer.json.gz'


@pytest.fixture
def definition(vocabularies):
  return json.loads(pathlib.Path(vocabularies['json_bpe'].path).read_text())


@pytest.fixture
def write(tmp_path, definition):
  """Writes the definition with changes."""

  def write(**changes):
    path = tmp_path / 'tokenizer.json'
    path.write_text(json.dumps({**definition, **changes}))
    return str(path)

  return write


@pytest.mark.skipif(not GPT2.is_file(), reason=f'needs {GPT2}')
def test_gpt2_has_its_known_tokens():
  gpt2 = TokenizerJson(str(GPT2))
  assert (gpt2.size, gpt2.end, gpt2.pad) == (50257, 50256, 50256)
  assert gpt2.encode(['Hello world'])[0].tolist() == [15496, 995]
  text = 'a<|endoftext|> \n\n\tüber 漢字\u2028'
  assert gpt2.decode(gpt2.encode([text])[0]) == text


def test_what_is_not_of_the_text_is_switched_off(vocabularies, write, text):
  plain = vocabularies['json_bpe']
  definition = json.loads(pathlib.Path(plain.path).read_text())
  template = [
    {'SpecialToken': {'id': '</s>', 'type_id': 0}},
    {'Sequence': {'id': 'A', 'type_id': 0}},
  ]
  path = write(
    truncation={
      'direction': 'Right',
      'max_length': 8,
      'strategy': 'LongestFirst',
      'stride': 0,
    },
    padding={
      'strategy': {'Fixed': 64},
      'direction': 'Right',
      'pad_to_multiple_of': None,
      'pad_id': 0,
      'pad_type_id': 0,
      'pad_token': '<pad>',
    },
    post_processor={
      'type': 'TemplateProcessing',
      'single': template,
      'pair': template,
      'special_tokens': {
        '</s>': {'id': '</s>', 'ids': [1], 'tokens': ['</s>']}
      },
    },
    model={**definition['model'], 'dropout': 0.5},
  )
  texts = [text[:2000], 'short']
  for ours, expected in zip(
    TokenizerJson(path).encode(texts), plain.encode(texts)
  ):
    np.testing.assert_array_equal(ours, expected)


def test_ordinary_added_tokens_keep_their_numbers(vocabularies):
  model = vocabularies['json_bpe']
  (tokens,) = model.encode(['a' + ' ' * 8 + 'b'])
  assert tokens[1] == model.size - 1 and len(tokens) == 3
  assert model.decode(tokens) == 'a' + ' ' * 8 + 'b'


def test_an_end_that_is_not_marked_as_special_is_not_found(write, definition):
  added = [{**token, 'special': False} for token in definition['added_tokens']]
  model = TokenizerJson(write(added_tokens=added))
  (tokens,) = model.encode(['a<|endoftext|>'])
  assert model.end not in tokens
  assert model.decode(np.array([*tokens, model.end])) == 'a<|endoftext|>'


def test_the_end_is_looked_up(vocabularies):
  path = vocabularies['json_bpe'].path
  assert TokenizerJson(path, '</s>').end != TokenizerJson(path).end
  hashes = {
    TokenizerJson(path, end).describe()['hash'] for end in ('</s>', '<pad>')
  }
  assert len(hashes) == 2
  with pytest.raises(
    UserError, match=r"end_token = '<endoftext>': no token of .*<\|endoftext\|>"
  ):
    TokenizerJson(path, '<endoftext>').end  # noqa: B018


def test_an_end_for_unknown_characters_is_refused(vocabularies):
  model = TokenizerJson(vocabularies['json_word'].path, '<unk>')
  with pytest.raises(UserError, match='unknown characters'):
    model.encode(['the'])


def test_gzip_has_the_same_hash(vocabularies, tmp_path):
  plain = vocabularies['json_bpe']
  path = tmp_path / 'tokenizer.json.gz'
  path.write_bytes(gzip.compress(pathlib.Path(plain.path).read_bytes()))
  assert TokenizerJson(str(path)).describe()['hash'] == plain.describe()['hash']


@pytest.mark.parametrize(
  'content, message',
  [
    (b'', 'no JSON'),
    (b'{"model"', 'no JSON'),
    (b'\xff\xfe', 'no JSON'),
    (b'\x1f\x8b damaged', 'no JSON'),
    (b'[]', r'no tokenizer\.json'),
    (b'{"model": {}}', r'no tokenizer\.json'),
    (b'{"model": {"vocab": [1, 2]}}', r'no tokenizer\.json'),
    (b'{"model": {"type": "new", "vocab": {"</s>": 0}}}', 'can not read it'),
  ],
)
def test_another_file_is_told(tmp_path, content, message):
  path = tmp_path / 'tokenizer.json'
  path.write_bytes(content)
  with pytest.raises(UserError, match=rf'path = .*tokenizer\.json.*{message}'):
    TokenizerJson(str(path), '</s>').describe()


@pytest.mark.parametrize(
  'arguments, key',
  [(('',), 'path'), ((None,), 'path'), (('x', 3), 'end_token')],
)
def test_fields_are_checked(arguments, key):
  with pytest.raises(UserError, match=rf'TokenizerJson\.{key}'):
    TokenizerJson(*arguments)


@pytest.mark.parametrize('name', ['json_bpe', 'json_unigram', 'json_word'])
def test_cuts_of_very_long_texts_change_no_token(
  vocabularies, name, text, monkeypatch
):
  model, text = vocabularies[name], text[-30_000:]
  whole = model.encode([text])[0]
  monkeypatch.setattr(tokenizer_json, 'LONG', 500)
  stretches = [*tokenizer_json._stretches(model._model.tokenizer, text)]
  assert len(stretches) > 30 and ''.join(stretches) == text
  np.testing.assert_array_equal(model.encode([text])[0], whole)


def test_a_text_is_not_cut_where_tokens_would_change(
  vocabularies, write, definition, text, monkeypatch
):
  """As Llama's: the start of each text gets a sign."""
  prepend = {'type': 'Prepend', 'prepend': 'x'}
  model = TokenizerJson(write(normalizer=prepend))
  whole = model.encode([text])[0]
  monkeypatch.setattr(tokenizer_json, 'LONG', 500)
  np.testing.assert_array_equal(model.encode([text])[0], whole)
