"""Folders as Hugging Face `datasets` 5.2 saves them (save_to_disk)."""

import json

import pytest

from tests.data.sources import made
from tpu_lm.checks import UserError
from tpu_lm.data.sources.files import Files


def dataset(*texts):
  """Files of one saved Dataset, in two data files."""
  half = len(texts) // 2
  return {
    'data-00000-of-00002.arrow': made.arrow(texts[:half]),
    'data-00001-of-00002.arrow': made.arrow(texts[half:]),
    'dataset_info.json': b'{"features": {}}',
    'state.json': b'{"_data_files": [], "_split": null}',
  }


def splits(**texts):
  """Files of a saved DatasetDict."""
  files = {'dataset_dict.json': json.dumps({'splits': [*texts]}).encode()}
  for name, those in texts.items():
    files |= {f'{name}/{file}': d for file, d in dataset(*those).items()}
  return files


@pytest.fixture(params=['local', 'remote'])
def put(request, tmp_path):
  def write(files):
    if request.param == 'remote':
      return made.remote(files)
    for name, data in files.items():
      (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
      (tmp_path / name).write_bytes(data)
    return str(tmp_path)

  return write


@pytest.mark.parametrize('validation', ['validation', 'valid'])
def test_its_own_validation_split_is_read(validation, put):
  texts = [f'text {n}' for n in range(50)]
  found = splits(train=texts, test=['never'], **{validation: ['held out']})
  source = Files('books', put(found))
  assert made.read(source) == texts
  assert made.read(source, 'validation') == ['held out']


def test_without_one_records_are_set_aside(put):
  texts = [f'text {n}' for n in range(50)]
  source = Files('books', put(splits(train=texts, test=['never'])))
  held_out = made.read(source, 'validation')
  assert sorted([*made.read(source), *held_out]) == sorted(texts)
  assert held_out


def test_one_dataset_is_read_as_a_folder(put):
  texts = [f'text {n}' for n in range(50)]
  source = Files('books', put(dataset(*texts)))
  held_out = made.read(source, 'validation')
  assert sorted([*made.read(source), *held_out]) == sorted(texts)


def test_a_validation_path_of_another_kind(put):
  folder = put(splits(train=['a', 'b'], validation=['c', 'd'], test=['e']))
  source = Files('books', folder, validation_path=f'{folder}/test')
  assert made.read(source) == ['a', 'b']
  assert made.read(source, 'validation') == ['e']
  source = Files('books', f'{folder}/test', validation_path=folder)
  assert made.read(source, 'validation') == ['c', 'd']


def test_splits_that_are_not_there_are_told(put):
  folder = put(splits(test=['a', 'b'], other=['c']))
  with pytest.raises(UserError, match='has no train split, but test, other'):
    Files('books', folder).shards('train')
  source = Files('books', f'{folder}/test', validation_path=folder)
  with pytest.raises(UserError, match='has no validation split, but test'):
    source.shards('validation')


def test_a_folder_above_does_not_mix_the_splits(put):
  files = splits(train=['a', 'b'], test=['c', 'd'])
  folder = put({f'below/{name}': data for name, data in files.items()})
  with pytest.raises(UserError, match=r'below: files of several of its splits'):
    Files('books', folder).shards('train')


def test_paths_with_and_without_validation_do_not_mix(put):
  files = splits(train=['a', 'b'], validation=['c', 'd'])
  files['other/a.txt'] = b'x'
  folder = put(files)
  source = Files('books', (folder, f'{folder}/other'))
  with pytest.raises(UserError, match='make them two sources'):
    source.shards('train')


def test_a_damaged_list_of_splits_is_told(put):
  with pytest.raises(UserError, match=r'dataset_dict.json: has no list'):
    Files('books', put({'dataset_dict.json': b'{}'})).shards('train')
