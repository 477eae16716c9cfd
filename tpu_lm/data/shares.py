"""From a mixture's weights to the integer shares of every step."""

from collections.abc import Mapping

from tpu_lm.checks import require
from tpu_lm.data.apportion import ONE, apportion
from tpu_lm.data.corpus import Corpus
from tpu_lm.data.ledger import REPLAY
from tpu_lm.data.mixing import Mixture


class Shares:
  """What each step of a phase draws from, and how much.

  Attributes:
    names: every source that any step draws from, in alphabetical order.
  """

  def __init__(
    self, corpus: Corpus, mixture: Mixture, replayed: Mapping[str, int]
  ):
    """Works out the shares of each stretch of steps.

    Args:
      corpus: knows the tasks of mixtures.
      mixture: weights, and the fraction that is replayed.
      replayed: the sources that the replay draws from, in proportion to these
        numbers; empty without a replay.

    Raises:
      UserError: a source is unknown, or its weight too small ever to count.
    """
    fraction = mixture.replay.fraction if mixture.replay else 0.0
    self._at = {}
    for step in [0, *sorted(mixture.changes)]:
      weights = _tasks(corpus, mixture.weights_at(step))
      parts = [_scaled(weights, 1 - fraction), _scaled(replayed, fraction)]
      self._at[step] = _integers(_sum(parts))
    self.names = tuple(sorted({n for s in self._at.values() for n in s}))

  def at(self, phase_step: int) -> dict[str, int]:
    """Shares at a step: positive, of sum 2**32, in alphabetical order."""
    return self._at[max(step for step in self._at if step <= phase_step)]


def source_of(name: str) -> str:
  """The source that a name draws from: 'prose' for 'replay:prose'."""
  return name.removeprefix(REPLAY)


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
