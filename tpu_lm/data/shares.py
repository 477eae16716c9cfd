"""From a mixture's weights to the integer shares of every step."""

from collections.abc import Mapping

from tpu_lm.checks import UserError, require
from tpu_lm.data.apportion import ONE, apportion
from tpu_lm.data.corpus import Corpus
from tpu_lm.data.ledger import REPLAY
from tpu_lm.data.mixing import Mixture
from tpu_lm.data.weights import FixedTokens, Weights, names_of


class Shares:
  """What each step of a phase draws from, and how much.

  Attributes:
    names: every source that any step draws from, in alphabetical order.
    starts: the steps from which each of the weights hold, the first one 0.
  """

  def __init__(
    self,
    corpus: Corpus,
    mixture: Mixture,
    replayed: Mapping[str, int],
    steps: int | None = None,
    tokens_per_step: int = 0,
  ):
    """Works out the shares of each stretch of steps.

    Args:
      corpus: knows the tasks of mixtures, and sizes.
      mixture: weights, and the fraction that is replayed.
      replayed: the sources that the replay draws from, in proportion to these
        numbers; empty without a replay.
      steps: the phase's length. It and the next are for weights that depend
        on how much is read.
      tokens_per_step: rows of a batch times sequence length.

    Raises:
      UserError: a source is unknown, its weight is too small ever to count,
        or the weights can't keep what they promise.
    """
    fraction = mixture.replay.fraction if mixture.replay else 0.0
    self.starts = (0, *sorted(mixture.changes))
    self._at = {}
    for step, stop in zip(self.starts, (*self.starts[1:], steps)):
      weights = mixture.weights_at(step)
      if not isinstance(weights, Mapping):
        good, must = stop is not None, "is needed: the phase's length"
        require(good, 'BatchBuilder.steps', steps, must)
        tokens = int((stop - step) * tokens_per_step * (1 - fraction))
        # At least one, as all may be replayed.
        weights = _resolved(corpus, weights, max(1, tokens), tokens_per_step)
      weights = _tasks(corpus, weights)
      parts = [_scaled(weights, 1 - fraction), _scaled(replayed, fraction)]
      self._at[step] = _integers(_sum(parts))
    self.names = tuple(sorted({n for s in self._at.values() for n in s}))

  def at(self, phase_step: int) -> dict[str, int]:
    """Shares at a step: positive, of sum 2**32, in alphabetical order."""
    return self._at[max(step for step in self._at if step <= phase_step)]


def source_of(name: str) -> str:
  """The source that a name draws from: 'prose' for 'replay:prose'."""
  return name.removeprefix(REPLAY)


def _resolved(
  corpus: Corpus, weights: Weights, budget: int, batch: int
) -> dict[str, float]:
  """Weights that depend on sizes; numbers in tokens."""
  if isinstance(weights, FixedTokens) and budget - weights.total >= batch:
    raise UserError(
      f'FixedTokens.tokens sum to {weights.total:,.0f}, and {budget:,} tokens'
      ' will be read by them: set the length to Tokens of their sum'
    )
  tasks = [t for name in names_of(weights) for t in corpus.expand(name)]
  sizes = {task: corpus.open(task, 'train').num_tokens for task in tasks}
  for task, size in sizes.items():
    require(size > 0, task, size, 'there are no tokens in it')
  return weights.resolve(sizes, budget)


def _tasks(corpus: Corpus, weights: Mapping[str, float]) -> dict[str, float]:
  """Splits the weight of each mixture over its tasks."""
  return _sum(
    _scaled(corpus.expand(name), weight) for name, weight in weights.items()
  )


def _scaled(weights: Mapping[str, float], total: float) -> dict[str, float]:
  whole = sum(weights.values())
  return {name: weight / whole * total for name, weight in weights.items()}


def _sum(parts) -> dict[str, float]:
  added: dict[str, float] = {}
  for part in parts:
    for name, weight in part.items():
      added[name] = added.get(name, 0.0) + weight
  return added


def _integers(weights: Mapping[str, float]) -> dict[str, int]:
  drawn = {name: weights[name] for name in sorted(weights) if weights[name]}
  shares = apportion(drawn, ONE)
  for name, share in shares.items():
    require(
      share > 0,
      f'Mixture.weights[{name!r}]',
      weights[name],
      'is below 2**-32 of the sum: it would never be drawn',
    )
  return shares
