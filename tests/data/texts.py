"""A folder with three texts, and small vocabularies trained on them."""

import json

from tpu_lm.data.sources.files import Files
from tpu_lm.data.vocabularies.sentence_piece import SentencePiece
from tpu_lm.data.vocabularies.tokenizer_json import TokenizerJson

TEXTS = ['alpha beta', 'gämma\u2028 δ\tε', 'alpha alpha \U0001f600 beta']


def write_lines(path, records):
  lines = [json.dumps(record, ensure_ascii=False) for record in records]
  path.write_text('\n'.join(lines) + '\n', encoding='utf-8')


def make_folder(root):
  folder = root / 'texts'
  folder.mkdir()
  write_lines(folder / 'a.jsonl', [{'text': text} for text in TEXTS[:2]])
  write_lines(folder / 'b.jsonl', [{'text': text} for text in TEXTS[2:]])
  return folder


def files_of(folder, **fields):
  fields.setdefault('validation_path', str(folder))
  return Files('texts', str(folder), **fields)


def train_sentence_piece(path):
  import sentencepiece

  with path.open('wb') as file:
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(TEXTS * 20),
      model_writer=file,
      vocab_size=290,
      byte_fallback=True,
      normalization_rule_name='identity',
      remove_extra_whitespaces=False,
      add_dummy_prefix=False,
      hard_vocab_limit=False,
      pad_id=0,
      eos_id=1,
      unk_id=2,
      bos_id=-1,
      minloglevel=2,
    )
  return SentencePiece(str(path))


def make_tokenizer_json(path):
  import tokenizers

  tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
  level = tokenizers.pre_tokenizers.ByteLevel
  tokenizer.pre_tokenizer = level(add_prefix_space=False)
  tokenizer.decoder = tokenizers.decoders.ByteLevel()
  trainer = tokenizers.trainers.BpeTrainer(
    vocab_size=300,
    initial_alphabet=level.alphabet(),
    special_tokens=['<|endoftext|>'],
    show_progress=False,
  )
  tokenizer.train_from_iterator(TEXTS * 20, trainer)
  tokenizer.save(str(path))
  return TokenizerJson(str(path))
