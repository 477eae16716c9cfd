"""A run is a tree of phases: the contract of one stage, and their order."""

import dataclasses
import re
from typing import Any

from tpu_lm.checks import (
  UserError,
  check_all,
  check_counts,
  check_kinds,
  nearest,
  require,
)
from tpu_lm.data.corpus import Corpus
from tpu_lm.data.mixing import Mixture
from tpu_lm.evaluate import Evaluate
from tpu_lm.guard import Guard
from tpu_lm.lineage import ANNEALED, TRUNK
from tpu_lm.objectives.cross_entropy import CrossEntropy
from tpu_lm.optimizers.adamw import AdamW
from tpu_lm.optimizers.carry import POLICIES
from tpu_lm.profiling import Profile
from tpu_lm.retention import Retention
from tpu_lm.schedules.base import Curve, Horizon, Tokens, length_in_steps
from tpu_lm.sharding import Mesh
from tpu_lm.state import Method
from tpu_lm.warm_start import WarmStart


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
  """One stage of training: from a parent's weights, on a mixture, for a while.

  Attributes:
    name: of the phase and of its folder.
    mixture: what it reads.
    schedule: its learning rate, a dataclass of `schedules/`.
    length: in steps, or `Tokens(n)`.
    batch_size: rows in a batch.
    sequence_length: tokens in a row; of the encoder's, where there is one.
    target_length: tokens in a row of the decoder beside an encoder; None: what
      the noise needs, and sequence_length for whole examples.
    parent: name of an earlier phase of this run or run folder, or the folder of
      a phase of another ('runs/other/phases/base'); None for random weights.
    warm_start: which parameters come from a parent with another model, the
      folder of a phase of another run; None: all, from one with the same.
    optimizer: a dataclass of `optimizers/`.
    optimizer_state: what becomes of the parent's: keep, reset,
      reset_first_moment or rewarm_second_moment (see `optimizers/carry.py`).
    objective: a dataclass of `objectives/`.
    methods: dataclasses of `methods/`, applied in order.
    guard: what becomes of steps whose numbers went bad; None: a number that is
      not finite stops the run.
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
  target_length: int | None = None
  parent: str | None = None
  warm_start: WarmStart | None = None
  optimizer: Any = AdamW()
  optimizer_state: str = 'keep'
  objective: Any = CrossEntropy()
  methods: tuple[Any, ...] = ()
  guard: Guard | None = None
  evaluate: Evaluate = Evaluate()
  micro_batches: int = 1
  mask_documents: bool = True
  save_every: int = 1000

  def __post_init__(self):
    good = isinstance(self.name, str) and re.fullmatch(r'\w[\w.-]*', self.name)
    must = 'must be letters, digits, _ . - (it names a folder)'
    require(bool(good), 'Phase.name', self.name, must)
    counts = ('batch_size', 'sequence_length', 'micro_batches', 'save_every')
    check_counts('Phase', self, counts)
    if self.target_length is not None:
      check_counts('Phase', self, ('target_length',))
    must = f'must divide batch_size = {self.batch_size}'
    good = self.batch_size % self.micro_batches == 0
    require(good, 'Phase.micro_batches', self.micro_batches, must)
    kinds = {'mixture': Mixture, 'evaluate': Evaluate, 'mask_documents': bool}
    kinds |= {'warm_start': WarmStart | None, 'parent': str | None}
    kinds |= {'guard': Guard | None}
    check_kinds('Phase', self, kinds)
    if self.mixture.replay and self.parent is None:
      raise UserError(f'Phase {self.name!r} has no parent to replay from')
    late = [step for step in self.mixture.changes if step >= self.steps]
    must = f'must come before the end of the phase, at {self.steps}'
    require(not late, 'Mixture.changes', late, must)
    members = {
      'schedule': 'annealed',
      'optimizer': 'core',
      'objective': '__call__',
    }
    for key, member in members.items():
      value = getattr(self, key)
      good = hasattr(value, member) and not isinstance(value, type)
      require(good, f'Phase.{key}', value, f'must be one of {key}s/')
    check_all('Phase.methods', self.methods, Method, 'methods/')
    hint = f'is not known.{nearest(str(self.optimizer_state), POLICIES)}'
    good = self.optimizer_state in tuple(POLICIES)
    require(good, 'Phase.optimizer_state', self.optimizer_state, hint)
    names = [method.name for method in self.methods]
    good = len(set(names)) == len(names)
    require(good, 'Phase.methods', names, 'must each appear once')

  @property
  def tokens_per_step(self) -> int:
    """Places in the rows of one step, the encoder's where there is one."""
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
    profile: steps that are profiled; None: none.
    checkpoints: which checkpoints are kept.
  """

  name: str
  model: Any
  phases: tuple[Phase, ...]
  corpus: Corpus
  mesh: Mesh = Mesh()
  seed: int = 0
  log_every: int = 10
  profile: Profile | None = None
  checkpoints: Retention = Retention()

  def __post_init__(self):
    check_all('Run.phases', self.phases, Phase, 'Phase(...), in gin @A/Phase()')
    object.__setattr__(self, 'phases', tuple(self.phases))
    check_counts('Run', self, ('log_every',))
    good = type(self.seed) is int and 0 <= self.seed < 2**31
    require(good, 'Run.seed', self.seed, 'must be an int in [0, 2**31)')
    good = hasattr(self.model, 'apply') and not isinstance(self.model, type)
    require(good, 'Run.model', self.model, 'must be one of models/')
    kinds = {'name': str, 'corpus': Corpus, 'mesh': Mesh}
    kinds |= {'profile': Profile | None, 'checkpoints': Retention}
    check_kinds('Run', self, kinds)
    require(bool(self.phases), 'Run.phases', self.phases, 'must not be empty')
    names = [phase.name for phase in self.phases]
    good = len(set(names)) == len(names)
    require(good, 'Run.phases', names, 'has two phases of one name')
