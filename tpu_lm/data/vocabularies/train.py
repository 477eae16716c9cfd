"""Training of SentencePiece vocabularies from which every text comes back."""

import collections
import io
import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tpu_lm.checks import UserError, check_number, require
from tpu_lm.data.progress import say
from tpu_lm.data.vocabularies.sentence_piece import SentencePiece
from tpu_lm.data.vocabularies.stretches import SPACE

KINDS = ('unigram', 'bpe')
LEAST_SIZE = 3 + 256  # special tokens, bytes
LINE_BYTES = 8_192
OPTIONS = {
  'pad_id': 0,
  'eos_id': 1,
  'unk_id': 2,
  'bos_id': -1,
  # What is not among the pieces is spelled in bytes, so nothing is lost.
  'byte_fallback': True,
  # A space spelled in bytes would come back as the sign that stands for it.
  'required_chars': SPACE,
  # Texts stay as they are, spaces included.
  'normalization_rule_name': 'identity',
  'remove_extra_whitespaces': False,
  'add_dummy_prefix': False,
  'allow_whitespace_only_pieces': True,
  # Numbers are read digit by digit, however often one occurs.
  'split_digits': True,
  'max_sentence_length': 4 * LINE_BYTES,
  # The result depends on it, so it must not depend on the machine.
  'num_threads': 16,
  'minloglevel': 3,
}


def train_sentence_piece(
  texts: Iterable[str],
  prefix: str | Path,
  size: int,
  kind: str = 'unigram',
  sample_bytes: int = 50_000_000,
) -> SentencePiece:
  """Trains a SentencePiece vocabulary.

  Tokens: 0 pads, 1 ends, 2 is never used (unknown), then 256 bytes, then the
  pieces. A line feed is a byte, runs of spaces are pieces, digits are single.
  The same texts give the same file, with one version of the library. Two
  lines on standard error tell what is done.

  Args:
    texts: to learn from, such as a sample of a mixture; read up to
      `sample_bytes`, and kept in memory. 50 MB of English and German took
      90 CPU seconds and 1.1 GB for 8,000 unigram tokens; BPE, far less.
    prefix: path or URL of the model to be written, without '.model'.
    size: number of tokens; above 259.
    kind: 'unigram' (Kudo 2018, arXiv:1804.10959) or 'bpe' (Sennrich et al.
      2016, arXiv:1508.07909).
    sample_bytes: most bytes to learn from, in UTF-8.

  Returns:
    The vocabulary of the file.

  Raises:
    UserError: a wrong argument, too little text for the size, too small a
      size for the text's characters, another model has this name, or it
      can not be written.
  """
  key = 'train_sentence_piece'
  require(kind in KINDS, f'{key}.kind', kind, f'must be one of {KINDS}')
  for name, value, least in [
    ('size', size, LEAST_SIZE + 1),
    ('sample_bytes', sample_bytes, 1),
  ]:
    check_number(f'{key}.{name}', value, least=least)
    require(value == int(value), f'{key}.{name}', value, 'must be whole')
  path = f'{prefix}.model'
  storage = _storage(path)
  start = time.monotonic()
  lines, used = _sample(texts, sample_bytes)
  if not lines:
    raise UserError('there is no text to train a vocabulary on')
  say(
    f'{path}: training {kind}, {size:,} tokens, on {used / 1e6:,.1f} MB of'
    f' text in {len(lines):,} lines'
  )
  data = _train(lines, size, kind)
  try:
    _write(path, *storage, data)
  except OSError as error:
    raise UserError(f'{path}: can not be written: {error}') from error
  say(f'{path}: done, {time.monotonic() - start:.1f} s')
  return SentencePiece(path)


def _sample(
  texts: Iterable[str], sample_bytes: int
) -> tuple[collections.deque[bytes], int]:
  """Takes lines until there are enough bytes; and how many there are."""
  lines, used = collections.deque(), 0
  for text in texts:
    for line in _lines(text):
      if lines and used + len(line) > sample_bytes:
        return lines, used
      lines.append(line)
      used += len(line)
  return lines, used


def _lines(text: str) -> Iterator[bytes]:
  """The lines of a text, long ones in stretches before spaces."""
  # Half a surrogate pair can't be learned from.
  for line in text.encode(errors='ignore').split(b'\n'):
    start = 0
    while len(line) - start > LINE_BYTES:
      at = line.rfind(b' ', start + 1, start + LINE_BYTES)
      at = at if at > 0 else start + LINE_BYTES
      while line[at] & 0xC0 == 0x80:  # inside of a character
        at -= 1
      yield line[start:at]
      start = at
    if line[start:]:
      yield line[start:]


def _train(lines: collections.deque[bytes], size: int, kind: str) -> bytes:
  """Trains; frees the lines meanwhile, as the trainer copies them."""
  import sentencepiece

  lines.append(b' ')  # a required character must occur
  model = io.BytesIO()
  try:
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=(lines.popleft() for _ in range(len(lines))),
      model_writer=model,
      model_type=kind,
      vocab_size=int(size),
      **OPTIONS,
    )
  except RuntimeError as error:
    raise UserError(_explain(str(error), size)) from error
  return model.getvalue()


def _explain(message: str, size: int) -> str:
  """What the trainer's complaint means for who asked for a vocabulary."""
  most = re.search(r'too high.*value <= (\d+)', message)
  if most:
    return (
      f'too little text for a vocabulary of {size:,} tokens: it has pieces for'
      f' {int(most[1]):,} at most. Train on more text or ask for fewer tokens'
    )
  least = re.search(r'smaller than required_chars\. \d+ vs (\d+)', message)
  if least:
    return (
      f'a vocabulary of {size:,} tokens is too small: special tokens, bytes'
      f' and the characters of the text are {int(least[1]):,} already'
    )
  return f'SentencePiece could not train: {message}'


def _storage(path: str) -> tuple[Any, str]:
  """The file system of a path or URL, and the place in it."""
  import fsspec

  try:
    return fsspec.core.url_to_fs(path)
  except (ImportError, ValueError) as error:
    raise UserError(f'{path}: can not be written: {error}') from error


def _write(path: str, files: Any, place: str, data: bytes) -> None:
  """Writes the whole file or none; an equal one may be there already."""
  if files.exists(place):
    if files.cat_file(place) != data:
      raise UserError(
        f'{path} is there already and differs: stores may depend on it. Choose'
        ' another name, or delete it'
      )
    return
  if '://' in path:
    files.pipe_file(place, data)  # object storage has whole files only
    return
  file = Path(place)
  file.parent.mkdir(parents=True, exist_ok=True)
  temporary = file.with_name(f'.{file.name}.{os.getpid()}')
  temporary.write_bytes(data)
  os.replace(temporary, file)
