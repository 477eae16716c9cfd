"""Hugging Face tokenizers: a `tokenizer.json`, read by their library."""

import dataclasses
import functools
import gzip
import itertools
import json
import os
import re
import secrets
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tpu_lm.checks import UserError, nearest, require
from tpu_lm.data.vocabularies import model_file

KEY = 'TokenizerJson.path'
GZIP = b'\x1f\x8b'
NO_JSON = gzip.BadGzipFile, zlib.error, EOFError, RecursionError, ValueError
# No tokenizer has pieces for these: they show what unknown text becomes.
RARE = '\U0010fffd\ue000'
LONG = 1_000_000  # characters; the library takes some 100 bytes for each
WINDOW = 200
TRIES = 50
BEFORE_A_WORD = re.compile(r'(?<=\S)(?=\s\S)')


@dataclasses.dataclass(frozen=True)
class TokenizerJson:
  """The tokens of a `tokenizer.json`.

  What makes tokens depend on more than the text, or drops some of it, is
  switched off: dropout, truncation, padding, tokens added at the ends. A text
  that spells a special token, such as '<|im_start|>', is text like any other.
  The file's own normalisation holds.

  Attributes:
    path: of the file, plain or gzip; also a URL.
    end_token: the name in the file of the token that closes a document.
  """

  path: str
  end_token: str = '<|endoftext|>'

  def __post_init__(self):
    good = isinstance(self.path, str) and self.path != ''
    require(good, KEY, self.path, 'must be the path or URL of a .json file')
    good = isinstance(self.end_token, str) and self.end_token != ''
    require(
      good, 'TokenizerJson.end_token', self.end_token, "must be a token's name"
    )

  @property
  def size(self) -> int:
    """One more than the greatest token, added ones included."""
    return self._model.size

  @property
  def end(self) -> int:
    """The number of `end_token`."""
    return self._model.end

  @property
  def pad(self) -> int:
    """The end token: a file need not say what it pads with."""
    return self._model.end

  def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
    """See `Vocabulary.encode`."""
    tokenizer = self._model.tokenizer
    for text in texts:
      text.encode()  # half a surrogate pair; the library only has a TypeError
    if any(len(text) > LONG for text in texts):
      return [_encode_long(tokenizer, text) for text in texts]
    return _encode(tokenizer, texts)

  def decode(self, tokens: np.ndarray) -> str:
    """See `Vocabulary.decode`; other special tokens give no text either."""
    model = self._model
    return model.tokenizer.decode(
      [
        token
        for token in np.asarray(tokens).tolist()
        if 0 <= token < model.size and token != model.end
      ],
      skip_special_tokens=True,
    )

  def describe(self) -> dict[str, str]:
    """See `Vocabulary.describe`; the file is hashed uncompressed."""
    name = model_file.name(self.path)
    return {
      'description': f'Hugging Face {self._model.kind}, {self.size} tokens,'
      f' {name}',
      'hash': self._model.hash,
    }

  @property
  def _model(self) -> '_Model':
    return _load(self.path, self.end_token, model_file.stamp(self.path))


@dataclasses.dataclass(frozen=True)
class _Model:
  tokenizer: Any
  kind: str
  hash: str
  size: int
  end: int


@functools.cache
def _load(path: str, end_token: str, stamp: tuple[int, int] | None) -> _Model:
  del stamp  # tells files apart that replaced each other
  import tokenizers

  # Read at each call of the library. Stores are built by many processes.
  os.environ.setdefault('TOKENIZERS_PARALLELISM', 'false')
  data = model_file.read(KEY, path)
  try:
    data = gzip.decompress(data) if data.startswith(GZIP) else data
    definition = json.loads(data)
  except NO_JSON as error:
    raise UserError(f'{KEY} = {path!r}: no JSON: {error}') from error
  ids = _ids(path, definition)
  if end_token not in ids:
    added = [token['content'] for token in definition['added_tokens']]
    raise UserError(
      f'TokenizerJson.end_token = {end_token!r}: no token of {path}.'
      f'{nearest(end_token, added)}'
    )
  try:
    tokenizer = tokenizers.Tokenizer.from_str(
      json.dumps(_harmless(definition, end_token), ensure_ascii=False)
    )
    unknown = tokenizer.encode(RARE, add_special_tokens=False).ids
  except UnicodeEncodeError as error:
    raise UserError(
      f'{KEY} = {path!r}: holds half of a surrogate pair, which is no text'
    ) from error
  except BaseException as error:
    # The library's own have no other class; where its Rust code panics they
    # are no Exception, and their class can't be imported.
    panic = type(error).__name__ == 'PanicException'
    if type(error) is not Exception and not panic:
      raise
    raise UserError(
      f'{KEY} = {path!r}: tokenizers {tokenizers.__version__} can not read it:'
      f' {error}'
    ) from error
  if ids[end_token] in unknown:
    raise UserError(
      f'TokenizerJson.end_token = {end_token!r}: {path} uses it for unknown'
      ' characters as well, which would end documents. Choose another token'
    )
  return _Model(
    tokenizer,
    type(tokenizer.model).__name__,
    model_file.digest('tokenizer.json', data, end_token),
    max(ids.values()) + 1,
    ids[end_token],
  )


def _ids(path: str, definition: Any) -> dict[str, int]:
  """The tokens by name, of the model and added ones."""
  try:
    vocabulary = definition['model']['vocab']
    if isinstance(vocabulary, list):  # of a unigram model: [name, score]
      vocabulary = {name: i for i, (name, _) in enumerate(vocabulary)}
    added = definition.setdefault('added_tokens', [])
    ids = {**vocabulary, **{token['content']: token['id'] for token in added}}
    if not all(type(a) is str and type(b) is int for a, b in ids.items()):
      raise TypeError('a token is no text, or its number no int')
    return ids
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    raise UserError(f'{KEY} = {path!r}: no tokenizer.json') from error


def _harmless(definition: dict[str, Any], end_token: str) -> dict[str, Any]:
  """The definition, changed so that tokens depend on the text alone.

  Special tokens get names that no text spells, as nobody knows them. The
  library can be told not to look for such tokens in a text, but unigram and
  word models find them even then: the names are in their vocabulary.
  """
  added, model = definition['added_tokens'], definition['model']
  special = {token['content'] for token in added if token.get('special')}
  special.add(end_token)
  hidden = secrets.token_hex(16)

  def hide(name: str) -> str:
    return hidden + name if name in special else name

  changed = dict(model)
  if isinstance(model['vocab'], list):
    changed['vocab'] = [[hide(name), score] for name, score in model['vocab']]
  else:
    changed['vocab'] = {hide(name): i for name, i in model['vocab'].items()}
  if isinstance(model.get('unk_token'), str):
    changed['unk_token'] = hide(model['unk_token'])
  if 'dropout' in model:
    changed['dropout'] = None
  return {
    **definition,
    'added_tokens': [
      {
        **token,
        'content': hide(token['content']),
        'special': token['content'] in special,
      }
      for token in added
    ],
    'model': changed,
    'truncation': None,
    'padding': None,
  }


def _encode(tokenizer: Any, texts: Sequence[str]) -> list[np.ndarray]:
  encodings = tokenizer.encode_batch_fast([*texts], add_special_tokens=False)
  return [np.array(encoding.ids, np.int32) for encoding in encodings]


def _encode_long(tokenizer: Any, text: str) -> np.ndarray:
  """Encodes stretch by stretch, as the library needs much memory for each."""
  stretches = _stretches(tokenizer, text)
  return np.concatenate([_encode(tokenizer, [part])[0] for part in stretches])


def _stretches(tokenizer: Any, text: str) -> Iterator[str]:
  """Cuts a very long text where that changes no token, as a window shows."""
  start = 0
  while len(text) - start > LONG:
    places = BEFORE_A_WORD.finditer(text, start + LONG)
    for place in itertools.islice(places, TRIES):
      if _parts(tokenizer, text, place.start()):
        break
    else:
      break
    yield text[start : place.start()]
    start = place.start()
  yield text[start:]


def _parts(tokenizer: Any, text: str, at: int) -> bool:
  """Whether what lies around a place encodes alike with a cut there."""
  before, after = text[max(at - WINDOW, 0) : at], text[at : at + WINDOW]
  whole, *parts = _encode(tokenizer, [before + after, before, after])
  return np.array_equal(whole, np.concatenate(parts))
