"""What seqio tasks yield, as documents."""

import json
from collections import Counter

import numpy as np
import pytest

from tests.data.texts import make_tokenizer_json
from tpu_lm.checks import UserError
from tpu_lm.data.corpus import Corpus
from tpu_lm.data.examples.pair import Pair
from tpu_lm.data.recipe import FilesRecipe
from tpu_lm.data.registry import load_seqio
from tpu_lm.data.seqio_recipe import SeqioRecipe
from tpu_lm.data.sources.files import Files
from tpu_lm.data.vocabularies.bytes import Bytes

PAIRS = [('eins', 'one'), ('zwei drei', 'two thrée'), ('', 'four'), ('x', '')]


@pytest.fixture
def seqio():
  seqio = load_seqio()
  before = {*seqio.TaskRegistry.names()}
  yield seqio
  for name in {*seqio.TaskRegistry.names()} - before:
    seqio.TaskRegistry.remove(name)
  seqio.set_global_cache_dirs([])


def add_task(seqio, name, source, features=None, steps=None):
  vocabulary = seqio.ByteVocabulary(extra_ids=0)
  preprocessors = seqio.preprocessors
  return seqio.TaskRegistry.add(
    name,
    source=source,
    output_features=features or {'targets': seqio.Feature(vocabulary)},
    preprocessors=steps
    or [
      seqio.map_over_dataset(lambda text: {'targets': text}),
      preprocessors.tokenize,
      seqio.CacheDatasetPlaceholder(),
      preprocessors.append_eos,
    ],
  )


def add_pairs(seqio, name, inputs=None, targets=None):
  import tensorflow as tf

  def dataset(split, shuffle_files):
    first, second = zip(*PAIRS)
    return tf.data.Dataset.from_tensor_slices(
      {'inputs': [f'{text}\n' for text in first], 'targets': list(second)}
    )

  vocabulary = seqio.ByteVocabulary(extra_ids=0)
  features = {
    'inputs': inputs or seqio.Feature(vocabulary, add_eos=False),
    'targets': targets or seqio.Feature(vocabulary),
  }
  source = seqio.FunctionDataSource(dataset, splits=['train'])
  steps = [seqio.preprocessors.tokenize, seqio.preprocessors.append_eos]
  add_task(seqio, name, source, features, steps)
  return SeqioRecipe(name, 'train', ())


def lines_task(seqio, tmp_path, files=3):
  for number in range(files):
    text = f'a{number}\nb{number}\n\n'
    (tmp_path / f'{number}.lines').write_text(text)
  source = seqio.TextLineDataSource({'train': str(tmp_path / '*.lines')})
  add_task(seqio, 'lines_of_files', source)
  return SeqioRecipe('lines_of_files', 'train', ())


def documents_of(recipe):
  return [
    list(recipe.documents(shard, Counter()))
    for shard in range(len(recipe.shards()))
  ]


def test_pairs_are_the_same_as_those_of_files(seqio, tmp_path):
  recipe = add_pairs(seqio, 'pairs_of_seqio')
  path = tmp_path / 'pairs.jsonl'
  records = [{'inputs': one, 'targets': two} for one, two in PAIRS[:3]]
  path.write_text('\n'.join(map(json.dumps, records)))
  files = Files('pairs', str(path), str(path), example=Pair())
  [ours] = documents_of(FilesRecipe(files, 'train', Bytes()))
  [theirs] = documents_of(recipe)
  assert len(theirs) == 4
  for one, other in zip(ours, theirs):
    assert one.tokens.tolist() == other.tokens.tolist()
    assert one.loss.tolist() == other.loss.tolist()
    assert one.text == other.text
  headers = recipe.header(), FilesRecipe(files, 'train', Bytes()).header()
  for field in ('vocabulary', 'vocabulary_size', 'whole', 'masked'):
    assert len({str(getattr(header, field)) for header in headers}) == 1
  assert recipe.decode(theirs[1].tokens) == 'zwei drei\ntwo thrée'


def test_inputs_keep_the_end_token_that_their_task_gives_them(seqio):
  vocabulary = seqio.ByteVocabulary(extra_ids=0)
  feature = seqio.Feature(vocabulary, add_eos=True)
  recipe = add_pairs(seqio, 'pairs_with_ends', feature)
  document = documents_of(recipe)[0][0]
  assert document.tokens.tolist().count(1) == 2
  assert document.loss.tolist() == [False] * 6 + [True] * 4


def test_two_vocabularies_are_told(seqio):
  other = seqio.Feature(seqio.ByteVocabulary(extra_ids=9))
  recipe = add_pairs(seqio, 'two_vocabularies', targets=other)
  with pytest.raises(UserError, match='has a vocabulary for its inputs and'):
    recipe.header()


def test_the_text_is_kept_or_decoded(seqio):
  source = seqio.FunctionDataSource(
    lambda split, shuffle_files: None, splits=['train']
  )
  import tensorflow as tf

  source._dataset_fn = lambda split, shuffle_files: (
    tf.data.Dataset.from_tensor_slices({'targets': ['bä', '']})
  )
  tokenize = seqio.preprocessors.tokenize
  drop = seqio.map_over_dataset(lambda e: {'targets': e['targets']})
  add_task(seqio, 'tokens_only', source, steps=[tokenize, drop])
  [[document, empty]] = documents_of(SeqioRecipe('tokens_only', 'train', ()))
  assert document.text == 'bä'
  assert empty is None


def test_files_are_shards(seqio, tmp_path, monkeypatch):
  recipe = lines_task(seqio, tmp_path)
  [shard] = recipe.shards()  # small files share one
  assert shard.size == 3 * 7
  together = [d.text for d in documents_of(recipe)[0] if d.text]
  monkeypatch.setattr('tpu_lm.data.seqio_recipe.TARGET', 8)
  by_hand = SeqioRecipe('lines_of_files', 'train', ())
  assert len(by_hand.shards()) == 1  # no other process would find the task
  recipe = SeqioRecipe('lines_of_files', 'train', ('data_tasks.texts',))
  assert [shard.size for shard in recipe.shards()] == [7, 7, 7]
  texts = [[d.text for d in shard] for shard in documents_of(recipe)]
  assert texts == [[f'a{n}', f'b{n}', ''] for n in range(3)]
  assert sorted(together) == sorted(
    text for shard in texts for text in shard if text
  )


def test_no_file_is_told(seqio, tmp_path):
  source = seqio.TextLineDataSource({'train': str(tmp_path / '*.none')})
  add_task(seqio, 'no_lines', source)
  with pytest.raises(
    UserError, match=r'no_lines/train: there is no file .*non'
  ):
    SeqioRecipe('no_lines', 'train', ()).header()


def test_another_vocabulary(seqio, tmp_path):
  add_pairs(seqio, 'pairs_of_seqio')
  vocabulary = make_tokenizer_json(tmp_path / 'tokenizer.json')
  recipe = SeqioRecipe('pairs_of_seqio', 'train', (), vocabulary)
  header = recipe.header()
  assert header.vocabulary == vocabulary.describe()
  assert header.vocabulary_size == vocabulary.size
  document = documents_of(recipe)[0][1]
  encoded = vocabulary.encode(['zwei drei\n', 'two thrée'])
  expected = [*np.concatenate(encoded).tolist(), vocabulary.end]
  assert document.tokens.tolist() == expected
  assert document.loss.sum() == len(encoded[1]) + 1
  corpus = Corpus(store_dir=str(tmp_path / 'stores'), vocabulary=vocabulary)
  store = corpus.open('pairs_of_seqio', 'train')
  assert corpus.open('pairs_of_seqio', 'train').directory == store.directory
  bytes_of = Corpus(store_dir=str(tmp_path / 'stores'))
  assert bytes_of.open('pairs_of_seqio', 'train').vocabulary_size == 259


def write_cache(seqio, folder, task, texts):
  """As seqio's cacher lays it out: tokens without the end, two shards."""
  import tensorflow as tf

  place = folder / task
  place.mkdir(parents=True)
  for shard, part in enumerate([texts[::2], texts[1::2]]):
    path = place / f'train.tfrecord-{shard:05d}-of-00002'
    with tf.io.TFRecordWriter(str(path)) as writer:
      for text in part:
        example = {
          'targets': np.array([b + 3 for b in text.encode()], np.int32),
          'targets_pretokenized': text,
        }
        proto = seqio.utils.dict_to_tfexample(example)
        writer.write(proto.SerializeToString())
  info = {
    'num_shards': 2,
    'features': {
      'targets': {'shape': [None], 'dtype': 'int32'},
      'targets_pretokenized': {'shape': [], 'dtype': 'string'},
    },
    'seqio_version': seqio.__version__,
  }
  (place / 'info.train.json').write_text(json.dumps(info))
  stats = {'examples': len(texts), 'targets_tokens': 9}
  (place / 'stats.train.json').write_text(json.dumps(stats))
  (place / 'COMPLETED').write_text('')


def test_a_cached_task_is_read_from_its_cache(seqio, tmp_path, capsys):
  lines_task(seqio, tmp_path)
  cache = tmp_path / 'cache'
  write_cache(seqio, cache, 'lines_of_files', ['one', 'two', 'threeß'])
  stores = str(tmp_path / 'stores')
  plain = Corpus(store_dir=stores).open('lines_of_files', 'train')
  assert plain.num_documents == 9  # an empty line has an end token, too
  capsys.readouterr()
  corpus = Corpus(store_dir=stores, seqio_cache_dirs=(str(cache),))
  store = corpus.open('lines_of_files', 'train')
  assert f'seqio has it cached at {cache}' in capsys.readouterr().err
  texts = [
    bytes((store.document(n)[:-1] - 3).astype(np.uint8)).decode()
    for n in range(store.num_documents)
  ]
  assert sorted(texts) == ['one', 'threeß', 'two']
  assert corpus.open('lines_of_files', 'train').directory == store.directory
  assert capsys.readouterr().err == ''
  recorded = corpus.recipe('lines_of_files', 'train').header().dependencies
  assert str(cache / 'lines_of_files/info.train.json') in recorded.files
  assert len(recorded.files) == 3
  # What is cached are tokens, which another vocabulary can't use.
  again = SeqioRecipe('lines_of_files', 'train', (), Bytes(), (str(cache),))
  assert sum(map(len, documents_of(again))) == 9


def test_a_task_that_must_be_cached_and_is_not(seqio, tmp_path):
  (tmp_path / 'x.lines').write_text('x\n')
  source = seqio.TextLineDataSource({'train': str(tmp_path / '*.lines')})
  steps = [
    seqio.map_over_dataset(lambda text: {'targets': text}),
    seqio.preprocessors.tokenize,
    seqio.CacheDatasetPlaceholder(required=True),
  ]
  add_task(seqio, 'must_be_cached', source, steps=steps)
  with pytest.raises(UserError, match=r'cached nowhere.*seqio_cache_dirs'):
    SeqioRecipe('must_be_cached', 'train', ()).header()
