"""TFDS data sets by name, from small ones with their names on this disk."""

import os
import subprocess
import sys

import pytest

from tpu_lm.checks import UserError
from tpu_lm.data.corpus import Corpus
from tpu_lm.data.registry import load_seqio

MODULE = 'data_tasks.tfds'
ARTICLE = (
  '\n_START_ARTICLE_\nTitel\n_START_PARAGRAPH_\nErster._NEWLINE_Zweiter.'
  '\n_START_SECTION_\nTeil\n_START_PARAGRAPH_\nDritter.'
)


def numbered(text, count=40):
  return [{'text': f'{text} {n}'} for n in range(count)]


# Name, configuration, version, and the examples of each split.
SMALL = [
  ('lm1b', None, '1.1.0', {'train': numbered('lm'), 'test': numbered('t', 2)}),
  (
    'wiki40b',
    'de',
    '1.3.0',
    {'train': [{'text': ARTICLE}], 'validation': [{'text': ARTICLE}]},
  ),
  (
    'c4',
    'en',
    '3.1.0',
    {'train': numbered('c4'), 'validation': numbered('held', 3)},
  ),
  (
    'c4',
    'multilingual',
    '3.1.0',
    {'de': numbered('viel'), 'de-validation': numbered('v', 2), 'fr': []},
  ),
  ('wikipedia', '20230601.en', '1.0.0', {'train': numbered('wiki', 300)}),
  (
    'wmt14_translate',
    'de-en',
    '1.0.0',
    {
      split: [{'de': 'Guten Tag', 'en': 'Good day'}]
      for split in ('train', 'validation')
    },
  ),
]


@pytest.fixture(scope='module')
def seqio(tmp_path_factory):
  """seqio with these data sets and the Tasks of them."""
  seqio = load_seqio()
  import tensorflow as tf
  import tensorflow_datasets as tfds

  from data_tasks import tfds as ours

  assert len(ours._data_sets()) > 100
  folder = str(tmp_path_factory.mktemp('tfds'))
  for name, config, version, splits in SMALL:
    fields = next(
      example for examples in splits.values() for example in examples
    )

    def dataset(examples, fields=fields):
      columns = {f: [e[f] for e in examples] for f in fields}
      return tf.data.Dataset.from_tensor_slices(columns)

    tfds.dataset_builders.store_as_tfds_dataset(
      name=name,
      version=version,
      config=config,
      data_dir=folder,
      features=tfds.features.FeaturesDict(
        {field: tfds.features.Text() for field in fields}
      ),
      split_datasets={
        split: dataset(examples)
        for split, examples in splits.items()
        if examples
      },
    )
  seqio.set_tfds_data_dir_override(folder)
  yield seqio
  seqio.set_tfds_data_dir_override(None)


@pytest.fixture
def texts(seqio, tmp_path):
  """Texts of a task's split, out of its store."""

  def read(task, split):
    corpus = Corpus((MODULE,), store_dir=str(tmp_path))
    store = corpus.open(task, split)
    recipe = corpus.recipe(task, split)
    numbers = range(store.num_documents)
    return [recipe.decode(store.document(number)) for number in numbers]

  return read


@pytest.mark.parametrize(
  ('task', 'text', 'train', 'validation'),
  [
    ('lm1b', 'lm', 40, 2),
    ('c4_en', 'c4', 40, 3),
    ('mc4_de', 'viel', 40, 2),
    ('wikipedia_en', 'wiki', 297, 3),
  ],
)
def test_texts_by_name(texts, task, text, train, validation):
  found = texts(task, 'train')
  assert len(found) == train
  assert set(found) <= {f'{text} {n}' for n in range(300)}
  held_out = texts(task, 'validation')
  assert len(held_out) == validation
  assert not {*found} & {*held_out}


def test_the_markers_of_an_article_become_lines(texts):
  assert texts('wiki40b_de', 'train') == [
    'Titel\n\nErster.\nZweiter.\n\nTeil\n\nDritter.'
  ]


def test_a_translation_is_a_pair_with_loss_on_the_target(seqio, tmp_path):
  corpus = Corpus((MODULE,), store_dir=str(tmp_path))
  store = corpus.open('wmt14_en_de', 'train')
  assert store.manifest.whole
  loss = store.loss(0, store.num_tokens)
  tokens = store.tokens(0, store.num_tokens)
  decode = corpus.recipe('wmt14_en_de', 'train').decode
  assert decode(tokens[~loss]) == 'translate English to German: Good day\n'
  assert decode(tokens[loss]) == 'Guten Tag'
  assert corpus.open('wmt14_de_en', 'train').num_documents == 1


def test_a_store_depends_on_the_files_of_its_split_alone(seqio, tmp_path):
  recipe = Corpus((MODULE,), store_dir=str(tmp_path)).recipe('mc4_de', 'train')
  files = recipe.header().dependencies.files
  assert [os.path.basename(path) for path in files] == [
    'c4-de.tfrecord-00000-of-00001'
  ]
  assert recipe.shards()[0].size > 0


def test_a_data_set_that_is_not_prepared_is_told(seqio, tmp_path):
  corpus = Corpus((MODULE,), store_dir=str(tmp_path))
  with pytest.raises(UserError) as told:
    corpus.open('c4_realnewslike', 'train')
  message = str(told.value)
  assert 'Run `tfds build c4/realnewslike:3.1.0`' in message
  assert 'TFDS_DATA_DIR' in message
  assert '\n' not in message


def test_tfds_knows_all_these_names(seqio):
  import tensorflow_datasets as tfds
  from tensorflow_datasets.text import c4

  from data_tasks import tfds as ours

  assert {*ours.MC4.split()} <= {*c4.MC4_LANGUAGES}
  for data_set in ours._data_sets().values():
    name, _, version = data_set.name.partition(':')
    name, _, config = name.partition('/')
    builder = tfds.builder_cls(name)
    configs = {one.name: one.version for one in builder.BUILDER_CONFIGS}
    assert not config or config in configs, data_set.name
    assert version == str(configs.get(config) or builder.VERSION)


def test_the_folder_is_found_by_its_variable(seqio, tmp_path):
  folder = seqio.TaskRegistry.get('lm1b').source.tfds_dataset.data_dir
  script = (
    'from tpu_lm.data.corpus import Corpus\n'
    f'c = Corpus(({MODULE!r},), store_dir={str(tmp_path)!r})\n'
    "print(c.open('lm1b', 'train').num_documents)\n"
  )
  done = subprocess.run(
    [sys.executable, '-c', script],
    capture_output=True,
    text=True,
    check=True,
    env={
      **os.environ,
      'TFDS_DATA_DIR': folder,
      'PYTHONPATH': os.pathsep.join(['.', *sys.path]),
    },
  )
  assert done.stdout.strip() == '40'
