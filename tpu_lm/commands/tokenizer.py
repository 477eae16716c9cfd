"""Trains a SentencePiece vocabulary on a sample of a mixture.

  tpu-lm tokenizer train novels_en novels_de --gin_file=F \\
    --output=vocabularies/english_german.model --size=8000 --kind=unigram

The model round-trips any text exactly: no normalisation, spaces kept, unknown
characters as bytes. Use it with `Corpus.vocabulary = @SentencePiece()`.
"""

import argparse
from collections.abc import Sequence

from tpu_lm.checks import UserError
from tpu_lm.commands.arguments import add_corpus, names_of, read_corpus

HELP = 'train a vocabulary on a mixture'
MEGABYTE = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of `tokenizer`."""
  parser.add_argument('action', choices=['train'])
  add_corpus(parser)
  parser.add_argument(
    '--output', required=True, help='NAME.model, to be made; also a URL'
  )
  parser.add_argument(
    '--size', type=int, default=32_000, help='tokens (default: %(default)s)'
  )
  parser.add_argument(
    '--kind',
    choices=['unigram', 'bpe'],
    default='unigram',
    help='(default: %(default)s)',
  )
  parser.add_argument(
    '--sample_megabytes',
    type=float,
    default=50,
    help='text to learn from, in MB (default: %(default)s)',
  )
  parser.add_argument(
    '--seed', type=int, default=0, help='of the sample (default: %(default)s)'
  )


def run(options: argparse.Namespace, bindings: Sequence[str]) -> int:
  """Samples, trains, and says what came of it."""
  if not options.output.endswith('.model'):
    raise UserError(f'--output={options.output}: must end in .model')
  for key in ('size', 'sample_megabytes'):
    if not getattr(options, key) > 0:
      raise UserError(f'--{key}={getattr(options, key)}: must be above 0')
  corpus, configured = read_corpus(options, bindings)
  names = names_of(options, corpus, configured)
  from tpu_lm.data.vocabularies.train import train_sentence_piece
  from tpu_lm.survey.sample import sample_texts

  sample_bytes = int(options.sample_megabytes * MEGABYTE)
  vocabulary = train_sentence_piece(
    sample_texts(corpus, dict.fromkeys(names, 1.0), sample_bytes, options.seed),
    options.output.removesuffix('.model'),
    size=options.size,
    kind=options.kind,
    sample_bytes=sample_bytes,
  )
  print(f'{vocabulary.path}: {vocabulary.describe()["description"]}')
  return 0
