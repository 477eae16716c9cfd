"""Trains a run: each phase begun or restored, stepped, evaluated, saved."""

import math
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np

from tpu_lm import run_folder
from tpu_lm.checkpoint import Checkpoints
from tpu_lm.data.batches import BatchBuilder, validation_batches
from tpu_lm.data.ledger import Ledger
from tpu_lm.evals.source_loss import SourceLoss
from tpu_lm.interrupt import Interrupted, StopSignals
from tpu_lm.lineage import DONE, RUNNING, Lineage, definition, write_json
from tpu_lm.optimizers.carry import carry
from tpu_lm.phase import Run
from tpu_lm.progress import Progress
from tpu_lm.run_log import RunLog
from tpu_lm.sharding import batch_shardings, state_shardings
from tpu_lm.stages import prepare, sources_read
from tpu_lm.state import TrainState, init_state
from tpu_lm.step import make_train_step


class Stopped(Exception):
  """The run can't go on: a number is not finite."""


def train(run: Run, run_dir: pathlib.Path, config: str = '') -> None:
  """Trains every phase that is not done yet, in order.

  Started again after a stop of any kind, with the same arguments, it goes on
  from the newest checkpoint and ends with the same bits.

  Args:
    run: what to train.
    run_dir: the run folder; made if it is new.
    config: the configuration as text, kept with the run and its checkpoints.

  Raises:
    UserError: a mistake in `run`; nothing was touched.
    Interrupted: SIGTERM or SIGINT came; the state was saved.
    Stopped: a loss or gradient is not finite; nothing of it was saved.
  """
  run_dir = pathlib.Path(run_dir)
  stages = prepare(run, run_dir)
  mesh = run.mesh.make()
  identity = run_folder.identify(run, run_dir, mesh, config)
  log = RunLog(run_dir, max(stage.metrics_bytes for stage in stages))
  total = sum(stage.phase.steps for stage in stages)
  done = sum(stage.steps_done for stage in stages)
  with (
    jax.set_mesh(mesh),
    Progress(total, done) as progress,
    StopSignals() as signals,
  ):
    for stage in stages:
      training = _Training(run, stage, run_dir, config, identity)
      training.connect(mesh, log, progress, signals)
      if stage.done:
        training.write_lineage(stage.saved)
      else:
        training.train()
  log.close()


class _Training:
  """One phase in training: its compiled step, its state, its ledger."""

  def __init__(self, run, stage, run_dir, config, identity):
    self.run, self.stage, self.phase = run, stage, stage.phase
    self.run_dir, self.config, self.identity = run_dir, config, identity
    self.checkpoints = Checkpoints(stage.folder / 'checkpoints')

  def connect(self, mesh, log, progress, signals) -> None:
    """What the phases of a run share."""
    self.mesh, self.log = mesh, log
    self.progress, self.signals = progress, signals

  def train(self) -> None:
    """From the parent, or from where it stopped, to the end."""
    stage, phase = self.stage, self.phase
    self._enter()
    self._build()
    self.log.open_phase(phase.name, stage.start_step + self.taken)
    if self.taken == 0:
      self.write_lineage(self._lineage())
      self._evaluate()
    while self.taken < phase.steps:
      self._step()
      last = self.taken == phase.steps
      if self.taken % self.run.log_every == 0:
        self._flush(keep=1)
      if last or phase.evaluate.due(self.taken):
        self._evaluate()
      if last or self.taken % phase.save_every == 0:
        self._save()
      elif self.signals.received:
        self._save()
        self.checkpoints.wait()
        raise Interrupted(
          f'stopped at step {self.taken} of phase {phase.name!r}; '
          'the same command goes on from there'
        )
    self.checkpoints.wait()
    self.write_lineage(self._lineage())

  def write_lineage(self, lineage: Lineage) -> None:
    """Puts the phase's lineage beside its checkpoints."""
    write_json(self.stage.folder / 'lineage.json', lineage.to_json())

  def _enter(self) -> None:
    """Ledgers and counts: as saved, as the parent's, or fresh."""
    saved, parent = self.stage.saved, self.stage.parent
    self.taken = self.stage.steps_done
    if saved is not None:
      self.ancestors = saved.ancestors
      self.entry_ledger = Ledger.from_json(saved.entry_ledger)
      self.ledger = Ledger.from_json(saved.ledger)
      return
    self.ancestors = {}
    self.entry_ledger = Ledger(seed=self.run.seed)
    if parent is not None:
      record = self._parent_checkpoints().record(parent.step)
      lineage = Lineage.from_json(record['lineage'])
      own = {'entry': lineage.entry_ledger, 'end': lineage.ledger}
      self.ancestors = {**lineage.ancestors, lineage.phase: own}
      self.entry_ledger = Ledger.from_json(lineage.ledger)
    self.ledger = self.entry_ledger

  def _build(self) -> None:
    """Data, compiled programs and the state to go on from."""
    run, phase = self.run, self.phase
    self.builder = BatchBuilder(
      run.corpus,
      phase.mixture,
      phase.batch_size,
      phase.sequence_length,
      self.entry_ledger,
      mask_documents=phase.mask_documents,
      ancestors={
        name: (Ledger.from_json(own['entry']), Ledger.from_json(own['end']))
        for name, own in self.ancestors.items()
      },
    )
    self.source_loss = SourceLoss(
      run.model,
      phase.objective,
      self.mesh,
      {
        source: validation_batches(
          run.corpus,
          source,
          phase.evaluate.rows,
          phase.batch_size,
          phase.sequence_length,
          mask_documents=phase.mask_documents,
        )
        for source in phase.evaluate.sources or sources_read(run)
      },
    )
    axes = run.model.axes()
    optimizer = phase.optimizer.make(axes)
    key = jax.random.key(run.seed)
    shapes = jax.eval_shape(
      lambda: init_state(run.model, optimizer, phase.methods, key)
    )
    shardings = state_shardings(self.mesh, axes, shapes.params, shapes)
    target = jax.tree.map(
      lambda s, sharding: jax.ShapeDtypeStruct(
        s.shape, s.dtype, sharding=sharding
      ),
      shapes,
      shardings,
    )
    if self.stage.saved is not None:
      step = self.stage.saved.end_step
      self.state = self.checkpoints.restore(step, target)
    elif self.stage.parent is None:
      make = jax.jit(
        lambda: init_state(run.model, optimizer, phase.methods, key),
        out_shardings=shardings,
      )
      self.state = make()
    else:
      self.state = self._from_parent(optimizer, target, shardings)
    self.train_step = jax.jit(
      make_train_step(
        run.model,
        phase.objective,
        optimizer,
        self.stage.curve,
        start_step=self.stage.start_step,
        seed=run.seed,
        sources=len(self.builder.names),
        methods=phase.methods,
        micro_batches=phase.micro_batches,
      ),
      donate_argnums=0,
      out_shardings=(shardings, None),
    )
    self.reports: list[tuple[int, dict]] = []
    self._clock = time.monotonic(), self.taken

  def _from_parent(self, optimizer, target, shardings) -> TrainState:
    """The parent's weights, and its optimizer state by the phase's policy."""
    policy, methods = self.phase.optimizer_state, self.phase.methods
    wanted = {'params': target.params}
    if policy != 'reset' and jax.tree.leaves(target.optimizer):
      wanted['optimizer'] = target.optimizer
    loaded = self._parent_checkpoints().load(self.stage.parent.step, wanted)

    def begin(params, parent_optimizer):
      fresh = optimizer.init(params)
      return TrainState(
        step=jnp.asarray(self.stage.start_step, jnp.int32),
        params=params,
        optimizer=carry(policy, parent_optimizer, fresh),
        slots={method.name: method.init(params) for method in methods},
      )

    # Without 'optimizer' there is nothing to carry; `carry` then ignores it.
    parent_optimizer = loaded.get('optimizer', target.optimizer)
    if 'optimizer' not in loaded:
      parent_optimizer = jax.jit(optimizer.init)(loaded['params'])
    return jax.jit(begin, out_shardings=shardings)(
      loaded['params'], parent_optimizer
    )

  def _parent_checkpoints(self) -> Checkpoints:
    return Checkpoints(self.stage.parent_folder / 'checkpoints')

  def _step(self) -> None:
    batch, self.ledger = self.builder.next(self.taken, self.ledger)
    batch = jax.device_put(batch, batch_shardings(self.mesh, batch))
    self.state, report = self.train_step(self.state, batch)
    self.taken += 1
    self.reports.append((self.taken, report))

  def _flush(self, keep: int = 0) -> None:
    """Fetches, checks and logs the reports of all but the `keep` newest steps.

    One step is left running while its predecessors are fetched, so that the
    device is never idle for the sake of a log line.
    """
    ready = self.reports[: len(self.reports) - keep]
    self.reports = self.reports[len(ready) :]
    for taken, report in jax.device_get(ready):
      values = self._values(report)
      bad = [name for name, value in values.items() if not math.isfinite(value)]
      if bad:
        raise Stopped(
          f'{bad[0]} is {values[bad[0]]} at step {taken} of phase '
          f'{self.phase.name!r}. Nothing of it was saved: lower the learning '
          'rate or look at the data, then start again from the last checkpoint '
          f'(steps {self.checkpoints.steps()})'
        )
      if taken % self.run.log_every == 0 or taken == self.phase.steps:
        self.log.metrics(*self._place(taken), values)
        self._note_speed(taken, values['train/loss'])

  def _values(self, report: dict) -> dict[str, float]:
    """A report as named numbers; a source without rows gives none."""
    values = {
      'learning_rate': float(report['learning_rate']),
      'gradient_norm': float(report['gradient_norm']),
    }
    for name, mean in report['metrics'].items():
      total, weight = mean.total.astype(np.float64), mean.weight
      values[f'train/{name}'] = float(total.sum() / max(weight.sum(), 1e-9))
      if name == 'loss':
        for source, t, w in zip(self.builder.names, total, weight):
          if w > 0:
            values[f'train/loss/{source}'] = float(t / w)
    return values

  def _note_speed(self, taken: int, loss: float) -> None:
    now, (then, before) = time.monotonic(), self._clock
    steps, seconds = taken - before, max(now - then, 1e-9)
    self._clock = now, taken
    speed = steps * self.phase.tokens_per_step / seconds
    timings = {'step_seconds': seconds / steps, 'tokens_per_second': speed}
    self.log.timings(*self._place(taken), timings)
    note = f'loss {loss:.3f}, {speed:,.0f} tokens/s'
    self.progress.advance(steps, self.phase.name, note)

  def _evaluate(self) -> None:
    self._flush()
    started = time.monotonic()
    losses = self.source_loss.run(self.state.params)
    self.log.metrics(*self._place(self.taken), losses)
    then, before = self._clock
    self._clock = then + time.monotonic() - started, before

  def _save(self) -> None:
    self._flush()
    record = {
      'lineage': self._lineage().to_json(),
      'metrics_bytes': self.log.flush(),
      'config': self.config,
    }
    self.checkpoints.save(self.state, record)

  def _lineage(self) -> Lineage:
    stage, phase = self.stage, self.phase
    end_step, end_tokens = self._place(self.taken)
    rate = float(stage.curve(jnp.asarray(max(self.taken - 1, 0), jnp.int32)))
    return Lineage(
      run=self.identity,
      phase=phase.name,
      parent=stage.parent,
      kind=phase.kind,
      status=DONE if self.taken == phase.steps else RUNNING,
      start_step=stage.start_step,
      end_step=end_step,
      start_tokens=stage.start_tokens,
      end_tokens=end_tokens,
      learning_rate=rate,
      entry_ledger=self.entry_ledger.to_json(),
      ledger=self.ledger.to_json(),
      ancestors=self.ancestors,
      definition=definition(phase),
    )

  def _place(self, taken: int) -> tuple[int, int]:
    """(step, tokens) along the lineage after `taken` steps of the phase."""
    tokens = taken * self.phase.tokens_per_step
    return self.stage.start_step + taken, self.stage.start_tokens + tokens
