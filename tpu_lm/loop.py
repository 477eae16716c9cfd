"""Trains a run: each phase begun or restored, stepped, evaluated, saved."""

import contextlib
import dataclasses
import math
import pathlib

import jax

from tpu_lm import run_folder
from tpu_lm.checkpoint import Checkpoints
from tpu_lm.data.prefetch import Prefetch
from tpu_lm.entry import make_builder, make_state, read_ledgers, to_json
from tpu_lm.evals.source_loss import SourceLoss
from tpu_lm.feeding import Feed
from tpu_lm.forecast.flops import phase_flops
from tpu_lm.interrupt import Interrupted, StopSignals
from tpu_lm.lineage import DONE, RUNNING, Lineage, definition, write_json
from tpu_lm.phase import Run
from tpu_lm.prepare import prepare, sources_evaluated
from tpu_lm.processes import check_same, launched_together, primary, together
from tpu_lm.profiling import Window
from tpu_lm.progress import Progress
from tpu_lm.run_log import RunLog, named_values, open_log
from tpu_lm.speed import Speed
from tpu_lm.stages import Stage, lay_out, vouched_steps
from tpu_lm.step import make_train_step


class Stopped(Exception):
  """The run can't go on: a number is not finite."""


def train(
  run: Run,
  run_dir: pathlib.Path,
  config: str = '',
  stop_after: int | None = None,
) -> None:
  """Trains every phase that is not done yet, in order.

  Started again after a stop of any kind, with the same arguments, it goes on
  from the newest checkpoint and ends with the same bits.

  Args:
    run: what to train.
    run_dir: the run folder; made if it is new.
    config: the configuration as text, kept with the run and its checkpoints.
    stop_after: steps taken here after which to stop as signals do.

  Raises:
    UserError: a mistake in `run`; nothing was touched.
    Interrupted: SIGTERM or SIGINT came, or `stop_after`; the state was saved.
    Stopped: a loss or gradient is not finite; nothing of it was saved.
  """
  check_same('the configuration', f'jax {jax.__version__}\n{config}')
  with together():
    prepare(run, run_dir)
  mesh = run.mesh.make()
  with run_folder.locked(run_dir), jax.set_mesh(mesh):
    stages = lay_out(run, run_dir)  # again: now nobody else changes it
    done = sum(stage.steps_done for stage in stages)
    check_same('what is trained already', f'{done} steps')
    identity = run_folder.identify(run, run_dir, mesh, config)
    total = sum(stage.phase.steps for stage in stages)
    with (
      contextlib.closing(open_log(run_dir, vouched_steps(run_dir))) as log,
      Progress(total, done, shown=primary()) as progress,
      StopSignals(stop_after) as signals,
    ):
      shared = _Shared(
        run, stages, mesh, log, progress, signals, config, identity
      )
      for stage in stages:
        if stage.done:
          _write_lineage(stage, stage.saved)
        else:
          training = _Training(shared, stage)
          try:
            training.train()
          finally:
            training.close()


@dataclasses.dataclass(frozen=True)
class _Shared:
  """What the phases of a run share."""

  run: Run
  stages: list[Stage]
  mesh: jax.sharding.Mesh
  log: RunLog
  progress: Progress
  signals: StopSignals
  config: str
  identity: str


def _write_lineage(stage: Stage, lineage: Lineage) -> None:
  """Puts a phase's lineage beside its checkpoints."""
  if primary():
    write_json(stage.folder / 'lineage.json', lineage.to_json())


class _Training:
  """One phase in training: its compiled step, its state, its ledger."""

  def __init__(self, shared: _Shared, stage: Stage):
    self.run, self.stage, self.phase = shared.run, stage, stage.phase
    self.log, self.shared = shared.log, shared
    self.checkpoints = Checkpoints(stage.folder / 'checkpoints')
    self.builder = None
    self.window = Window(self.run.profile, stage.phase.name, self.log.run_dir)

  def close(self) -> None:
    """Waits for what goes on in the background."""
    if self.builder is not None:
      self.builder.close()
    self.window.close()
    self.checkpoints.wait()

  def train(self) -> None:
    """From the parent, or from where it stopped, to the end."""
    stage, phase = self.stage, self.phase
    self.checkpoints.sweep()
    self._build()
    self.log.open_phase(phase.name, stage.start_step + self.taken)
    _write_lineage(stage, self._lineage())
    if self.taken == 0:
      self._evaluate()
    while self.taken < phase.steps:
      self._step()
      stop, last = self.shared.signals.due(), self.taken == phase.steps
      if self.taken % self.run.log_every == 0:
        self._flush(keep=1)
      if last or phase.evaluate.due(self.taken):
        self._evaluate()
      if last or stop or self.taken % phase.save_every == 0:
        self._save()
      if stop and not last:
        raise Interrupted(
          f'stopped at step {self.taken} of phase {phase.name!r}; '
          'the same command goes on from there'
        )

  def _build(self) -> None:
    """Data, compiled programs and the state to go on from."""
    run, stage, phase = self.run, self.stage, self.phase
    self.ledgers = read_ledgers(run, stage)
    self.ledger = self.ledgers.now
    self.taken = stage.steps_done
    self.feed = Feed(self.shared.mesh, phase.batch_size)
    self.builder = Prefetch(
      make_builder(run, phase, self.ledgers, self.feed.own)
    )
    sources = sources_evaluated(run, self.shared.stages, stage)
    self.source_loss = SourceLoss(run, phase, self.shared.mesh, sources)
    optimizer = phase.optimizer.make(run.model.axes())
    self.state, shardings = make_state(run, stage, self.shared.mesh, optimizer)
    program = jax.jit(
      make_train_step(
        run.model,
        phase.objective,
        optimizer,
        stage.curve,
        start_step=stage.start_step,
        seed=run.seed,
        sources=len(self.builder.series),
        methods=phase.methods,
        micro_batches=phase.micro_batches,
      ),
      donate_argnums=0,
      out_shardings=(shardings, jax.P()),
    )
    self.train_step = launched_together(program)
    self.reports: list[tuple[int, dict]] = []
    per_step = phase.tokens_per_step, phase_flops(run, phase).total
    self.speed = Speed(*per_step, self.taken, run.log_every)

  def _step(self) -> None:
    batch, self.ledger = self.builder.next(self.taken, self.ledger)
    self.window.before(self.taken)
    self.state, report = self.train_step(self.state, self.feed.place(batch))
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
      values = named_values(report, self.builder.series)
      self._check_finite(values, taken)
      if taken % self.run.log_every == 0 or taken == self.phase.steps:
        self.log.metrics(*self._place(taken), values)
    if ready:
      self._note_speed(taken, values['train/loss'])

  def _check_finite(self, values: dict[str, float], taken: int) -> None:
    for name, value in values.items():
      if not math.isfinite(value):
        raise Stopped(
          f'{name} is {value} at step {taken} of phase {self.phase.name!r}: '
          'lower the learning rate or look at the data. Nothing of it was '
          f'saved; checkpoints: {self.checkpoints.steps()}'
        )

  def _note_speed(self, taken: int, loss: float) -> None:
    steps, timings = self.speed.measure(taken, taken == self.phase.steps)
    if steps:
      self.log.timings(*self._place(taken), timings)
      note = f'loss {loss:.3f}, {timings["tokens_per_second"]:,.0f} tokens/s'
      self.shared.progress.advance(steps, self.phase.name, note)

  def _evaluate(self) -> None:
    self._flush()
    with self.speed.paused():
      losses = self.source_loss.run(self.state.params)
      if self.taken == self.phase.steps:
        for measure in self.phase.evaluate.final:
          losses |= measure(self.run, self.state.params)
    self._check_finite(losses, self.taken)
    self.log.metrics(*self._place(self.taken), losses)

  def _save(self) -> None:
    self._flush()
    self.log.flush()
    lineage = self._lineage()
    record = {'lineage': lineage.to_json(), 'config': self.shared.config}
    try:
      with self.speed.paused():
        self.checkpoints.save(self.state, record)
    except FloatingPointError as error:
      raise Stopped(f'{error} at step {self.taken}; it was not saved') from None
    _write_lineage(self.stage, lineage)

  def _lineage(self) -> Lineage:
    stage, phase = self.stage, self.phase
    end_step, end_tokens = self._place(self.taken)
    return Lineage(
      run=self.shared.identity,
      phase=phase.name,
      parent=stage.parent,
      kind=phase.kind,
      status=DONE if self.taken == phase.steps else RUNNING,
      start_step=stage.start_step,
      end_step=end_step,
      start_tokens=stage.start_tokens,
      end_tokens=end_tokens,
      learning_rate=float(stage.curve(self.taken - 1)) if self.taken else None,
      entry_ledger=self.ledgers.entry.to_json(),
      ledger=self.ledger.to_json(),
      ancestors=to_json(self.ledgers.ancestors),
      definition=definition(phase),
    )

  def _place(self, taken: int) -> tuple[int, int]:
    """(step, tokens) along the lineage after `taken` steps of the phase."""
    tokens = taken * self.phase.tokens_per_step
    return self.stage.start_step + taken, self.stage.start_tokens + tokens
