"""A run is a tree of phases: the contract of one stage, and their order."""

import dataclasses
import re
from typing import Any

from tpu_lm.checks import UserError, nearest, require
from tpu_lm.data.corpus import Corpus
from tpu_lm.data.mixing import Mixture
from tpu_lm.lineage import ANNEALED, TRUNK
from tpu_lm.objectives.causal import Causal
from tpu_lm.optimizers.adamw import AdamW
from tpu_lm.optimizers.carry import POLICIES
from tpu_lm.schedules.base import Curve, Horizon, Tokens, length_in_steps
from tpu_lm.sharding import Mesh
from tpu_lm.state import Method


def _check_counts(owner: str, value: Any, names: tuple[str, ...]) -> None:
  for name in names:
    count = getattr(value, name)
    good = type(count) is int and count > 0
    require(good, f'{owner}.{name}', count, 'must be a positive int')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate:
  """When and on what a phase is evaluated, besides its entry and its end.

  Attributes:
    sources: names of tasks; none means every source that the run reads.
    every: steps between evaluations.
    dense_every: the same while the phase is young: after a switch of data the
      loss on what was known before moves within a few steps.
    dense_until: the phase step at which the phase is no longer young.
    rows: held-out rows of each source.
  """

  sources: tuple[str, ...] = ()
  every: int = 100
  dense_every: int = 10
  dense_until: int = 50
  rows: int = 32

  def __post_init__(self):
    counts = ('every', 'dense_every', 'dense_until', 'rows')
    _check_counts('Evaluate', self, counts)
    good = not isinstance(self.sources, str)
    require(good, 'Evaluate.sources', self.sources, 'must be a list of names')

  def due(self, phase_step: int) -> bool:
    """Whether to evaluate after this many steps of the phase."""
    young = phase_step <= self.dense_until
    return phase_step % (self.dense_every if young else self.every) == 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
  """One stage of training: from a parent's weights, on a mixture, for a while.

  Attributes:
    name: of the phase and of its folder.
    mixture: what it reads.
    schedule: its learning rate, a dataclass of `schedules/`.
    length: in steps, or `Tokens(n)`.
    batch_size: rows in a batch.
    sequence_length: tokens in a row.
    parent: name of an earlier phase of this run or run folder, or the folder of
      a phase of another ('runs/other/phases/base'); None for random weights.
    optimizer: a dataclass of `optimizers/`.
    optimizer_state: what becomes of the parent's: keep, reset,
      reset_first_moment or rewarm_second_moment (see `optimizers/carry.py`).
    objective: a dataclass of `objectives/`.
    methods: dataclasses of `methods/`, applied in order.
    evaluate: when and on what.
    micro_batches: parts of a batch, run one after another to save memory.
    mask_documents: keep attention and loss inside each packed document.
    save_every: steps between checkpoints; the last step is always saved.
  """

  name: str
  mixture: Mixture
  schedule: Any
  length: int | Tokens
  batch_size: int
  sequence_length: int
  parent: str | None = None
  optimizer: Any = AdamW()
  optimizer_state: str = 'keep'
  objective: Any = Causal()
  methods: tuple[Any, ...] = ()
  evaluate: Evaluate = Evaluate()
  micro_batches: int = 1
  mask_documents: bool = True
  save_every: int = 1000

  def __post_init__(self):
    good = isinstance(self.name, str) and re.fullmatch(r'\w[\w.-]*', self.name)
    must = 'must be letters, digits, _ . - (it names a folder)'
    require(bool(good), 'Phase.name', self.name, must)
    counts = ('batch_size', 'sequence_length', 'micro_batches', 'save_every')
    _check_counts('Phase', self, counts)
    must = f'must divide batch_size = {self.batch_size}'
    good = self.batch_size % self.micro_batches == 0
    require(good, 'Phase.micro_batches', self.micro_batches, must)
    for key, kind in (('mixture', Mixture), ('evaluate', Evaluate)):
      value = getattr(self, key)
      must = f'must be {kind.__name__}(...), in gin @{kind.__name__}()'
      require(isinstance(value, kind), f'Phase.{key}', value, must)
    if self.mixture.replay and self.parent is None:
      raise UserError(f'Phase {self.name!r} has no parent to replay from')
    late = [step for step in self.mixture.changes if step >= self.steps]
    must = f'must come before the end of the phase, at {self.steps}'
    require(not late, 'Mixture.changes', late, must)
    members = {'schedule': 'make', 'optimizer': 'make', 'objective': '__call__'}
    for key, member in members.items():
      value = getattr(self, key)
      good = hasattr(value, member) and not isinstance(value, type)
      require(good, f'Phase.{key}', value, f'must be one of {key}s/')
    good = all(isinstance(method, Method) for method in self.methods)
    require(good, 'Phase.methods', self.methods, 'must be of methods/')
    hint = f'is not known.{nearest(str(self.optimizer_state), POLICIES)}'
    good = self.optimizer_state in POLICIES
    require(good, 'Phase.optimizer_state', self.optimizer_state, hint)
    names = [method.name for method in self.methods]
    good = len(set(names)) == len(names)
    require(good, 'Phase.methods', names, 'must each appear once')
    good = type(self.mask_documents) is bool
    require(good, 'Phase.mask_documents', self.mask_documents, 'must be a bool')

  @property
  def tokens_per_step(self) -> int:
    """Tokens predicted in one step, masked ones included."""
    return self.batch_size * self.sequence_length

  @property
  def steps(self) -> int:
    """The phase's length in steps."""
    good = isinstance(self.length, Tokens)
    good = good or (type(self.length) is int and self.length > 0)
    must = 'must be a positive int of steps, or Tokens'
    require(good, 'Phase.length', self.length, must)
    horizon = Horizon(1, self.tokens_per_step)
    return length_in_steps(self.length, horizon, 'Phase.length')

  def curve(self, parent_rate: float | None) -> Curve:
    """The schedule, built for this phase's length."""
    horizon = Horizon(self.steps, self.tokens_per_step, parent_rate)
    return self.schedule.make(horizon)

  @property
  def kind(self) -> str:
    """What the phase leaves: `trunk` or `annealed`."""
    return ANNEALED if self.schedule.annealed else TRUNK


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """A tree of phases over one model, trained in the order of `phases`.

  Attributes:
    name: a title for logs and the report.
    model: a dataclass of `models/`.
    phases: each after its parent.
    corpus: where the sources are defined and their stores kept.
    mesh: how the devices are used.
    seed: of initial weights, row order and dropout.
    log_every: steps between lines of training metrics.
  """

  name: str
  model: Any
  phases: tuple[Phase, ...]
  corpus: Corpus
  mesh: Mesh = Mesh()
  seed: int = 0
  log_every: int = 10

  def __post_init__(self):
    object.__setattr__(self, 'phases', tuple(self.phases))
    _check_counts('Run', self, ('log_every',))
    good = type(self.seed) is int and 0 <= self.seed < 2**31
    require(good, 'Run.seed', self.seed, 'must be an int in [0, 2**31)')
    good = hasattr(self.model, 'apply') and not isinstance(self.model, type)
    require(good, 'Run.model', self.model, 'must be one of models/')
    for key, kind in (('corpus', Corpus), ('mesh', Mesh)):
      value = getattr(self, key)
      must = f'must be {kind.__name__}(...), in gin @{kind.__name__}()'
      require(isinstance(value, kind), f'Run.{key}', value, must)
    require(bool(self.phases), 'Run.phases', self.phases, 'must not be empty')
    names: list[str] = []
    for phase in self.phases:
      must = 'must be Phase(...), in gin @NAME/Phase()'
      require(isinstance(phase, Phase), 'Run.phases', phase, must)
      if phase.name in names:
        raise UserError(f'Run.phases: two phases are called {phase.name!r}')
      names.append(phase.name)
