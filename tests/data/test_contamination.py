"""Evaluation sets found in a corpus, against a plain search of words."""

import json
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpu_lm.checks import UserError
from tpu_lm.data import contamination as module
from tpu_lm.data.contamination import (
  SHORTEST,
  Contamination,
  dirty_items,
  merge,
)
from tpu_lm.data.examples.pair import Pair
from tpu_lm.data.sources.files import Files

FOX = 'The quick brown fox jumps over the lazy dog, and runs far away today.'
RAIN = 'It had rained all night.'
TEXTS = st.lists(st.sampled_from(['sun', 'Moon', 'star,']), max_size=30).map(
  ' '.join
)


def files_of(folder, texts, name='eval'):
  path = folder / f'{name}.jsonl'
  path.write_text(''.join(json.dumps({'text': t}) + '\n' for t in texts))
  return Files(name, str(path))


def check(folder, texts, name='eval', n=13):
  return Contamination((files_of(folder, texts, name),), n)


def count(contamination, documents):
  counter = contamination.counter()
  for document in documents:
    counter.add(document)
  return counter.result()


def words_of(text):
  return text.lower().replace(',', '').replace('.', '').split()


def ngrams(text, n):
  words = words_of(text)
  return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


@settings(max_examples=60)
@given(
  items=st.lists(TEXTS, min_size=1, max_size=5),
  documents=st.lists(TEXTS, max_size=5),
  n=st.integers(SHORTEST, 10),
)
def test_counts_are_those_of_a_plain_search(
  tmp_path_factory, items, documents, n
):
  items = [*items, FOX]
  one = check(tmp_path_factory.mktemp('eval'), items, n=n)
  wanted = {}
  for number, item in enumerate(items):
    length = min(n, len(words_of(item)))
    if length >= SHORTEST:
      for gram in ngrams(item, length):
        wanted.setdefault(gram, set()).add(number)
  hits = [
    [gram for k in range(SHORTEST, n + 1) for gram in ngrams(text, k)]
    for text in documents
  ]
  hits = [[gram for gram in grams if gram in wanted] for grams in hits]
  result = count(one, documents)['eval']
  assert dirty_items(result) == sorted(
    {number for grams in hits for gram in grams for number in wanted[gram]}
  )
  assert result['documents'] == sum(map(bool, hits))
  assert result['ngrams'] == sum(map(len, hits))
  assert result['items'] == len(items)
  assert result['short'] == sum(
    len(words_of(item)) < SHORTEST for item in items
  )


@given(
  documents=st.lists(st.sampled_from([FOX, RAIN, FOX + RAIN, '']), max_size=6),
  cut=st.integers(0, 6),
)
def test_parts_of_a_corpus_add_up(tmp_path_factory, documents, cut):
  items = [FOX, RAIN, FOX + ' ' + RAIN, 'nobody ever wrote this down ' * 3]
  one = check(tmp_path_factory.mktemp('eval'), items)
  parts = count(one, documents[:cut]), count(one, documents[cut:])
  assert merge([*parts, {}]) == count(one, documents)
  stored = json.loads(json.dumps(parts))
  assert merge(stored) == merge(parts)


def test_case_and_punctuation_do_not_hide_an_item(tmp_path):
  one = check(tmp_path, [FOX])
  hidden = 'So: THE QUICK (brown) fox\n\tjumps over the lazy dog and runs far -'
  assert not dirty_items(count(one, [hidden])['eval'])  # 12 of 14 words
  assert dirty_items(count(one, [hidden + ' away!'])['eval']) == [0]


def test_an_item_of_8_to_12_words_is_looked_for_whole(tmp_path):
  one = check(tmp_path, ['one two three four five six seven eight nine'])
  assert (
    count(one, ['one two three four five six seven eight'])['eval']['documents']
    == 0
  )
  found = count(one, ['zero one two three four five six seven eight nine ten'])
  assert dirty_items(found['eval']) == [0]


def test_an_item_is_not_found_across_two_documents(tmp_path):
  one = check(tmp_path, [FOX])
  assert count(one, [FOX[:30], FOX[30:]])['eval']['documents'] == 0


def test_a_document_larger_than_what_is_counted_at_once(tmp_path):
  one = check(tmp_path, [FOX])
  filler = 'lorem ipsum ' * 40_000
  result = count(one, [f'{filler}{FOX} {filler}', FOX, filler])['eval']
  assert (result['documents'], result['ngrams']) == (2, 4)


def test_several_sets_are_counted_apart(tmp_path):
  cow = 'the cow jumped over the moon and the dish ran off'
  files = tuple(
    files_of(tmp_path, texts, name)
    for name, texts in {'a': [RAIN, FOX], 'b': [FOX, cow, RAIN]}.items()
  )
  result = count(Contamination(files), [cow, cow, 'other'])
  assert dirty_items(result['a']) == []
  assert dirty_items(result['b']) == [1]
  assert result['b']['documents'] == 2


def test_every_item_counts_in_the_order_of_the_files(tmp_path):
  # Nothing is set aside for validation, as it is of training data.
  items = [f'{FOX} and so on number{i} it went' for i in range(50)]
  one = check(tmp_path, items)
  grams = [f'today and so on number{i} it went far' for i in (3, 41)]
  one = Contamination(one.evals, 8)
  result = count(one, [f'runs far away {gram}' for gram in grams])['eval']
  assert result['items'] == 50
  held_out = files_of(tmp_path, [FOX, RAIN], 'more')
  both = Files('both', one.evals[0].path, validation_path=held_out.path)
  assert count(Contamination((both,)), [])['both']['items'] == 52


def test_items_of_any_example_format(tmp_path):
  path = tmp_path / 'pairs.jsonl'
  path.write_text(json.dumps({'q': FOX[:30], 'a': FOX[30:]}) + '\n')
  files = Files('pairs', str(path), example=Pair('q', 'a', separator=''))
  assert dirty_items(count(Contamination((files,)), [FOX])['pairs']) == [0]


def test_sets_are_read_once_and_travel_to_workers(tmp_path, monkeypatch):
  one = check(tmp_path, [FOX], 'once')
  count(one, [])
  monkeypatch.setattr(module, '_texts', None)
  assert count(pickle.loads(pickle.dumps(one)), [FOX])['once']['documents'] == 1


def test_parts_checked_against_other_sets_are_not_added(tmp_path):
  first = count(check(tmp_path, [FOX]), [FOX])
  other = count(check(tmp_path, [FOX + ' Then it slept.'], 'b'), [FOX])
  with pytest.raises(UserError, match='not the same for all of the corpus'):
    merge([first, {'eval': other['b']}])
  with pytest.raises(UserError, match='b was not the same'):
    merge([first, {**first, **other}])


def test_a_set_of_short_items_only(tmp_path):
  with pytest.raises(UserError, match='none of the 2 items of eval has 8'):
    check(tmp_path, [RAIN, 'no']).counter()


def test_broken_records_follow_the_policy_of_the_files(tmp_path):
  path = tmp_path / 'broken.jsonl'
  path.write_text(json.dumps({'text': FOX}) + '\n{"other": 1}\n')
  with pytest.raises(UserError, match=r'broken\.jsonl, line 2'):
    Contamination((Files('a', str(path)),)).counter()
  skipping = Files('a', str(path), on_error='skip')
  assert count(Contamination((skipping,)), [FOX])['a']['items'] == 1


@pytest.mark.parametrize(
  'values, told',
  [
    ({'evals': ()}, 'Contamination.evals'),
    ({'evals': ('eval',)}, 'must be a tuple of Files'),
    ({'n': 7}, 'Contamination.n = 7'),
    ({'n': 13.0}, 'Contamination.n = 13.0'),
  ],
)
def test_what_makes_no_sense_is_refused(values, told):
  with pytest.raises(UserError, match=told):
    Contamination(**({'evals': (Files('eval', 'x.jsonl'),)} | values))


def test_sets_of_one_name_are_refused():
  with pytest.raises(UserError, match='must have different names'):
    Contamination((Files('eval', 'x.jsonl'), Files('eval', 'y.jsonl')))
