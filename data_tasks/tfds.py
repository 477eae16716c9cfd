"""Data sets of TensorFlow Datasets (TFDS) by name, as seqio Tasks.

Texts: c4_en, c4_en_noclean, c4_realnewslike, mc4_LANGUAGE,
wiki40b_LANGUAGE, wikipedia_LANGUAGE, lm1b, pg19. Pairs of inputs and targets:
wmt14_XX_en and wmt14_en_XX, gsm8k. All have splits train and validation.

A data set must have been prepared, which may take days and terabytes and so
is never begun from here: `tfds build NAME`, or a copy of somebody else's. It
is looked for where TFDS keeps its data: TFDS_DATA_DIR (gs:// too), otherwise
~/tensorflow_datasets.

Tokens are bytes, unless Corpus.vocabulary says otherwise.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import seqio
import tensorflow as tf

from data_tasks.texts import PREPROCESSORS, VOCABULARY
from tpu_lm.checks import UserError

# A language goes by the name that TFDS has for it, with _ in place of -.
WIKI40B = (
  'ar bg ca cs da de el en es et fa fi fr he hi hr hu id it ja ko lt lv ms nl'
  ' no pl pt ro ru sk sl sr sv th tl tr uk vi zh-cn zh-tw'
)
MC4 = (
  'ar bg bn cs da de el en es et fa fi fr hi hu id it ja ko lt lv nl no pl pt'
  ' ro ru sk sl sr sv sw ta te th tr uk ur vi zh'
)
WIKIPEDIA = 'ar cs de en es fr hi id it ja ko nl pl pt ru sv sw tr uk vi zh'
WIKIPEDIA_DATE = '20230601'
WMT14 = {
  'cs': 'Czech',
  'de': 'German',
  'fr': 'French',
  'hi': 'Hindi',
  'ru': 'Russian',
}
HELD_OUT = {'train': 'train', 'validation': 'validation'}
# lm1b has no validation split; its authors held this one out for it.
TESTED = {'train': 'train', 'validation': 'test'}
# Of those that have nothing to spare but training data, or only a test split
# that models are measured by.
LAST_PERCENT = {'train': 'train[:99%]', 'validation': 'train[99%:]'}
LAST_TWENTIETH = {'train': 'train[:95%]', 'validation': 'train[95%:]'}

Example = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class DataSet:
  """A data set and what is taken from it.

  Attributes:
    name: as TFDS knows it: NAME/CONFIG:VERSION.
    features: makes {'targets': text}, or 'inputs' too, of an example.
    splits: ours to those of TFDS.
    pair: whether it has inputs.
  """

  name: str
  features: Callable[[Example], Example]
  splits: Mapping[str, str]
  pair: bool = False


class Prepared(seqio.TfdsDataSource):
  """A TFDS source that reads what is there and never downloads."""

  def __init__(self, name: str, splits: Mapping[str, str]):
    """Names the data set; nothing is looked for yet."""
    super().__init__(tfds_name=name, splits=dict(splits), read_only=True)

  def list_shards(self, split: str) -> Sequence[str]:
    """See seqio. Raises UserError if the data set is not prepared."""
    builder = self.tfds_dataset.builder
    if not (builder.data_path / 'dataset_info.json').exists():
      name = self.tfds_dataset.name
      raise UserError(
        f'{name} is not prepared at {builder.data_path}. Run `tfds build'
        f' {name}`, or set TFDS_DATA_DIR to where it is'
      )
    return super().list_shards(split)


def text_of(field: str) -> Callable[[Example], Example]:
  """Takes the text of a field."""
  return lambda example: {'targets': example[field]}


def wiki40b_text(example: Example) -> Example:
  """Takes the markers of Wiki-40B out of an article.

  They are `_START_ARTICLE_`, `_START_SECTION_` and `_START_PARAGRAPH_`, each
  a line before a title, a heading and a paragraph, and `_NEWLINE_` within
  paragraphs (Guo et al. 2020, "Wiki-40B: Multilingual Language Model
  Dataset"). What they mark stays, with an empty line between.
  """
  text = tf.strings.regex_replace(
    example['text'], r'\n?_START_(ARTICLE|SECTION|PARAGRAPH)_\n', '\n\n'
  )
  text = tf.strings.regex_replace(text, '_NEWLINE_', '\n')
  return {'targets': tf.strings.strip(text)}


def translated(
  source: str, target: str, prefix: str
) -> Callable[[Example], Example]:
  """Takes a pair of sentences; a line's end parts inputs from targets."""
  return lambda example: {
    'inputs': prefix + example[source] + '\n',
    'targets': example[target],
  }


def _data_sets() -> dict[str, DataSet]:
  text = text_of('text')
  found = {
    'lm1b': DataSet('lm1b:1.1.0', text, TESTED),
    'pg19': DataSet('pg19:0.1.1', text_of('book_text'), HELD_OUT),
    'gsm8k': DataSet(
      'gsm8k:1.0.0', translated('question', 'answer', ''), LAST_TWENTIETH, True
    ),
  }
  for name in ('en', 'en.noclean', 'realnewslike'):
    found[f'c4_{name.replace(".", "_")}'] = DataSet(
      f'c4/{name}:3.1.0', text, HELD_OUT
    )
  for code in MC4.split():
    splits = {'train': code, 'validation': f'{code}-validation'}
    found[f'mc4_{code}'] = DataSet('c4/multilingual:3.1.0', text, splits)
  for code in WIKI40B.split():
    found[f'wiki40b_{code.replace("-", "_")}'] = DataSet(
      f'wiki40b/{code}:1.3.0', wiki40b_text, HELD_OUT
    )
  for code in WIKIPEDIA.split():
    found[f'wikipedia_{code}'] = DataSet(
      f'wikipedia/{WIKIPEDIA_DATE}.{code}:1.0.0', text, LAST_PERCENT
    )
  for code, language in WMT14.items():
    name = f'wmt14_translate/{code}-en:1.0.0'
    for source, target, words in (
      (code, 'en', f'{language} to English'),
      ('en', code, f'English to {language}'),
    ):
      features = translated(source, target, f'translate {words}: ')
      found[f'wmt14_{source}_{target}'] = DataSet(
        name, features, HELD_OUT, pair=True
      )
  return found


def _add(name: str, data_set: DataSet) -> None:
  features: dict[str, Any] = {'targets': seqio.Feature(VOCABULARY)}
  if data_set.pair:
    features['inputs'] = seqio.Feature(VOCABULARY, add_eos=False)
  seqio.TaskRegistry.add(
    name,
    source=Prepared(data_set.name, data_set.splits),
    output_features=features,
    preprocessors=[
      seqio.map_over_dataset(data_set.features),
      *PREPROCESSORS,
    ],
  )


for _name, _data_set in _data_sets().items():
  _add(_name, _data_set)
