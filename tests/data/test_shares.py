import pytest

from tests.data.helpers import tiny_corpus
from tpu_lm.checks import UserError
from tpu_lm.data.apportion import ONE
from tpu_lm.data.mixing import Mixture
from tpu_lm.data.replay import Replay
from tpu_lm.data.shares import Shares
from tpu_lm.data.weights import FixedTokens, Proportional, Temperature, UniMax


@pytest.fixture(scope='module')
def corpus(tmp_path_factory):
  # 100, 300 and 600 tokens, ends included.
  texts = {'a': ['x' * 99], 'b': ['y' * 299], 'c': ['z' * 599]}
  return tiny_corpus(tmp_path_factory.mktemp('stores'), texts)


def parts(shares, step=0):
  return {name: share / ONE for name, share in shares.at(step).items()}


def test_sizes_are_tokens_of_the_stores(corpus):
  mixture = Mixture(
    Proportional(('a', 'b')), changes={5: Temperature(('b', 'c'), 0.5)}
  )
  shares = Shares(corpus, mixture, {}, steps=10, tokens_per_step=8)
  assert shares.starts == (0, 5)
  assert shares.names == ('a', 'b', 'c')
  assert parts(shares, 4) == pytest.approx({'a': 1 / 4, 'b': 3 / 4})
  assert parts(shares, 5) == pytest.approx({'b': 1 / 5, 'c': 4 / 5})


def test_a_budget_is_that_of_the_stretch(corpus):
  every = ('a', 'b', 'c')
  mixture = Mixture({'a': 1}, changes={4: UniMax(every, max_epochs=1)})
  # 16 steps of 50 tokens: 100 of a, 300 of b, 400 of c.
  shares = Shares(corpus, mixture, {}, steps=20, tokens_per_step=50)
  assert parts(shares, 4) == pytest.approx({'a': 1 / 8, 'b': 3 / 8, 'c': 4 / 8})


def test_what_is_replayed_is_not_in_the_budget(corpus):
  replay = Replay(0.5)
  mixture = Mixture(UniMax(('a', 'c'), max_epochs=1), replay=replay)
  shares = Shares(corpus, mixture, {'replay:b': 7}, 8, tokens_per_step=100)
  expected = {'a': 1 / 8, 'c': 3 / 8, 'replay:b': 1 / 2}
  assert parts(shares) == pytest.approx(expected)


@pytest.mark.parametrize(
  'weights',
  [UniMax(('a',), 1), Proportional(('a',)), FixedTokens({'a': 1}), {'a': 1}],
)
def test_all_may_be_replayed(corpus, weights):
  mixture = Mixture(weights, replay=Replay(1.0))
  shares = Shares(corpus, mixture, {'replay:b': 7}, 8, tokens_per_step=100)
  assert shares.at(0) == {'replay:b': ONE}


def test_fixed_tokens_fit_the_length(corpus):
  mixture = Mixture(FixedTokens({'a': 300, 'c': 100}))
  # Tokens(400) is 7 steps of 64, rounded up: 448.
  shares = Shares(corpus, mixture, {}, steps=7, tokens_per_step=64)
  assert parts(shares) == {'a': 3 / 4, 'c': 1 / 4}
  with pytest.raises(UserError, match='sum to 400, and 512 tokens'):
    Shares(corpus, mixture, {}, steps=8, tokens_per_step=64)


def test_the_length_is_asked_for(corpus):
  with pytest.raises(UserError, match='steps = None: is needed'):
    Shares(corpus, Mixture(Proportional(('a',))), {})


def test_mixtures_stand_for_their_tasks(corpus):
  class Known:
    def open(self, name, split):
      return corpus.open(name, split)

    def expand(self, name):
      return {'b': 1.0, 'c': 3.0} if name == 'both' else {name: 1.0}

  sized = Mixture(Proportional(('both', 'a', 'b')))
  assert parts(Shares(Known(), sized, {}, 1, 1)) == pytest.approx(
    {'a': 0.1, 'b': 0.3, 'c': 0.6}
  )
  fixed = Mixture(FixedTokens({'both': 80, 'a': 20}))
  assert parts(Shares(Known(), fixed, {}, 1, 1)) == pytest.approx(
    {'a': 0.2, 'b': 0.2, 'c': 0.6}
  )
