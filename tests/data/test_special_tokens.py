import pytest

from tests.data.helpers import tiny_store
from tpu_lm.checks import UserError
from tpu_lm.data.special_tokens import NAMES, SpecialTokens


def test_numbers_are_t5s_and_above(tmp_path):
  store = tiny_store(tmp_path, 'x', [[5, 7, 1], [9, 1]], vocabulary_size=32000)
  special = SpecialTokens().of(store)
  assert (special.start, special.end) == (0, 1)
  assert [special.sentinel(i) for i in (0, 1, 99)] == [32099, 32098, 32000]
  assert special.id('mask') == 32100
  numbers = [special.id(name) for name in NAMES]
  assert numbers == list(range(32100, 32100 + len(NAMES)))
  assert numbers[-1] < 32128  # T5's tables have room for them
  assert special.size((), 0) == 32000
  assert special.size((), 1) == 32100
  assert special.size(('mode_r',), 5) == special.id('mode_r') + 1


def test_a_vocabularys_own_tokens_are_taken(tmp_path):
  store = tiny_store(tmp_path, 'x', [[5, 7, 102]], vocabulary_size=30522)
  ids = {'mask': 103, 'start': 101}
  special = SpecialTokens(sentinels=0, ids=ids).of(store)
  assert (special.id('mask'), special.start, special.end) == (103, 101, 102)
  assert special.size(('mask',), 0) == 30522


def test_too_few_sentinels_are_told(tmp_path):
  special = SpecialTokens(100).of(tiny_store(tmp_path, 'x', [[5, 1]]))
  with pytest.raises(UserError, match='needs 128'):
    special.size((), 128)


def test_documents_that_end_in_different_tokens_need_an_end(tmp_path):
  store = tiny_store(tmp_path, 'x', [[5, 7], [5, 8]])
  with pytest.raises(UserError, match=r"different tokens.*\{'end'"):
    SpecialTokens().of(store)
  assert SpecialTokens(ids={'end': 2}).of(store).end == 2


def test_a_vocabulary_may_have_the_sentinels_itself(tmp_path):
  store = tiny_store(tmp_path, 'x', [[5, 1]], vocabulary_size=32100)
  special = SpecialTokens(first=32099).of(store)
  assert [special.sentinel(i) for i in (0, 99)] == [32099, 32000]
  assert special.id('mask') == 32100
  assert special.size((), 100) == 32100


def test_two_tokens_of_one_number_are_told(tmp_path):
  store = tiny_store(tmp_path, 'x', [[5, 1]])
  special = SpecialTokens(ids={'mask': 358}).of(store)
  assert special.size(('mask',), 0) == 359
  with pytest.raises(UserError, match='mask and sentinel 0 are both token 358'):
    special.size(('mask',), 3)
  special = SpecialTokens(ids={'mode_r': 260, 'mode_s': 260}).of(store)
  with pytest.raises(UserError, match='mode_r and mode_s are both'):
    special.size(('mode_r', 'mode_s'), 0)


def test_the_vocabularys_end_comes_before_the_looks_of_the_store(tmp_path):
  store = tiny_store(tmp_path, 'x', [[5, 46], [7, 46]])
  assert SpecialTokens().of(store).end == 46
  assert SpecialTokens().of(store, end=1).end == 1
  assert SpecialTokens(ids={'end': 2}).of(store, end=1).end == 2


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'sentinels': -1}, 'SpecialTokens.sentinels'),
    ({'ids': {'maks': 3}}, 'SpecialTokens.ids.*mask'),
    ({'ids': ['mask']}, 'SpecialTokens.ids.*must map'),
    ({'first': 3}, 'SpecialTokens.first'),
    ({'ids': {'mask': -1}}, r"SpecialTokens.ids\['mask'\]"),
  ],
)
def test_bad_values_are_told(fields, message):
  with pytest.raises(UserError, match=message):
    SpecialTokens(**fields)
