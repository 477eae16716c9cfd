import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpu_lm.checks import UserError
from tpu_lm.data.weights import (
  FixedTokens,
  Proportional,
  Temperature,
  UniMax,
  describe,
  names_of,
)

NAMES = ('de', 'en', 'sw')
SIZES = {'de': 400, 'en': 1600, 'sw': 100}
SOME_SIZES = st.dictionaries(
  st.sampled_from('abcdefgh'), st.integers(1, 10**13), min_size=1
)


def normalised(weights):
  total = sum(weights.values())
  return {name: weight / total for name, weight in weights.items()}


def test_proportional_is_sizes_up_to_a_limit():
  assert Proportional(NAMES).resolve(SIZES, 1) == SIZES
  # T5: r_m = min(e_m, K) / sum of min(e_n, K).
  limited = Proportional(NAMES, limit=500).resolve(SIZES, 1)
  assert normalised(limited) == {'de': 0.4, 'en': 0.5, 'sw': 0.1}


def test_temperature_is_a_power():
  # T = 2 by hand: square roots 20, 40, 10 of 70.
  roots = normalised(Temperature(NAMES, 2.0).resolve(SIZES, 1))
  assert roots == pytest.approx({'de': 2 / 7, 'en': 4 / 7, 'sw': 1 / 7})
  # With K = 900 first: 20, 30, 10 of 60.
  limited = normalised(Temperature(NAMES, 2.0, limit=900).resolve(SIZES, 1))
  assert limited == pytest.approx({'de': 1 / 3, 'en': 1 / 2, 'sw': 1 / 6})
  # mT5's alpha of 0.3: 16 times the text counts 16 ** 0.3 = 2.2974 as much.
  alpha = Temperature(NAMES, 1 / 0.3).resolve(SIZES, 1)
  assert alpha['en'] / alpha['sw'] == pytest.approx(2.2973967)
  one = Temperature(NAMES, 1).resolve(SIZES, 1)
  assert normalised(one) == pytest.approx(
    normalised(Proportional(NAMES).resolve(SIZES, 1))
  )


def test_a_high_temperature_is_equal_and_a_low_one_does_not_overflow():
  hot = Temperature(NAMES, 1e9).resolve(SIZES, 1)
  assert hot == pytest.approx(dict.fromkeys(NAMES, 1))
  cold = Temperature(('a', 'b'), 0.01).resolve({'a': 10**13, 'b': 10**12}, 1)
  assert cold == {'a': 1.0, 'b': pytest.approx(1e-100)}


def test_unimax_by_hand():
  # 900 tokens, one epoch: sw is used up at 100 < 300; of the 800 left, de
  # and en would get 400 each, which is all of de.
  weights = UniMax(NAMES, max_epochs=1).resolve(SIZES, 900)
  assert weights == {'sw': 100, 'de': 400, 'en': 400}
  # 1,200 tokens: de is used up as well, and en gets the rest.
  weights = UniMax(NAMES, max_epochs=1).resolve(SIZES, 1200)
  assert weights == {'sw': 100, 'de': 400, 'en': 700}
  # A budget of its own comes before the phase's; 300 is equal parts.
  weights = UniMax(NAMES, max_epochs=4, budget=300).resolve(SIZES, 10**9)
  assert weights == {'sw': 100, 'de': 100, 'en': 100}


@given(SOME_SIZES, st.floats(0.1, 20), st.floats(0.001, 1))
def test_unimax_is_as_equal_as_it_can_be(sizes, epochs, part):
  budget = part * epochs * sum(sizes.values())
  policy = UniMax(tuple(sizes), max_epochs=epochs, budget=budget)
  weights = policy.resolve(sizes, 1)
  assert sum(weights.values()) == pytest.approx(budget)
  assert set(weights) == set(sizes)
  largest = max(weights.values())
  for name, weight in weights.items():
    cap = sizes[name] * epochs
    assert weight <= cap
    # What is not used up has as much as any other.
    assert weight == cap or weight == pytest.approx(largest)


def test_unimax_keeps_its_promise_or_says_so():
  weights = UniMax(NAMES, max_epochs=2).resolve(SIZES, 4200)
  assert weights == {'sw': 200, 'de': 800, 'en': 3200}
  with pytest.raises(UserError, match=r'are 4,200 tokens.* budget is 4,201'):
    UniMax(NAMES, max_epochs=2).resolve(SIZES, 4201)


def test_fixed_tokens_are_themselves():
  fixed = FixedTokens({'de': 1e9, 'en': 5e8})
  assert fixed.resolve(SIZES, 7) == {'de': 1e9, 'en': 5e8}
  assert fixed.total == 1.5e9


def test_words():
  assert describe({'de': 0.25, 'en': 3}) == 'de 0.25, en 3'
  assert describe(UniMax(NAMES, 2)) == 'UniMax of de, en, sw'
  assert names_of(FixedTokens({'de': 1, 'sw': 2})) == ('de', 'sw')
  assert names_of({'de': 1, 'sw': 2}) == ('de', 'sw')


@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (lambda: Proportional('de'), 'Proportional.sources.*must be names'),
    (lambda: Proportional(()), 'Proportional.sources'),
    (lambda: Proportional(('de', 'de')), 'must each appear once'),
    (lambda: Proportional(('replay:de',)), "begin with 'replay:'"),
    (lambda: Proportional(NAMES, limit=0), 'Proportional.limit = 0'),
    (lambda: Temperature(NAMES, 0), 'Temperature.temperature = 0'),
    (lambda: Temperature(NAMES, 2, limit='x'), "Temperature.limit = 'x'"),
    (lambda: UniMax(NAMES, -1), 'UniMax.max_epochs = -1'),
    (lambda: UniMax(NAMES, 1, budget=0), 'UniMax.budget = 0'),
    (lambda: FixedTokens({}), 'FixedTokens.tokens'),
    (lambda: FixedTokens(('de',)), 'must map names'),
    (lambda: FixedTokens({'de': 0}), r"FixedTokens.tokens\['de'\] = 0"),
    (lambda: FixedTokens({'de': 1e308, 'en': 1e308}), 'the sum of .* = inf'),
  ],
)
def test_wrong_values_are_told(make, message):
  with pytest.raises(UserError, match=message):
    make()
