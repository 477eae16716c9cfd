"""Trains a run: each phase begun or restored, stepped, evaluated, saved."""

import contextlib
import dataclasses
import pathlib

import jax

from tpu_lm import entry, run_folder, setbacks
from tpu_lm.checks import UserError
from tpu_lm.data.ledger import Ledger
from tpu_lm.data.prefetch import Prefetch
from tpu_lm.evals.source_loss import SourceLoss
from tpu_lm.feeding import Feed
from tpu_lm.forecast.flops import phase_flops
from tpu_lm.interrupt import Interrupted, StopSignals
from tpu_lm.lineage import DONE, RUNNING, Lineage, definition
from tpu_lm.phase import Run
from tpu_lm.prepare import prepare, sources_evaluated
from tpu_lm.processes import check_same, launched_together, primary, together
from tpu_lm.profiling import Window
from tpu_lm.progress import Progress
from tpu_lm.run_log import RunLog, open_log
from tpu_lm.speed import Speed
from tpu_lm.stages import Stage, lay_out, vouched_steps, write_lineage
from tpu_lm.step_reports import StepReports, Stopped


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
    Stopped: a number is bad; nothing of it was saved.
  """
  check_same('the configuration', f'jax {jax.__version__}\n{config}')
  signals, resume = StopSignals(stop_after), {}
  while True:
    try:
      return _train(run, run_dir, config, signals, resume)
    except (UserError, setbacks.RolledBack) as error:
      setbacks.overcome(run, run_dir, error, resume)


def _train(
  run: Run,
  run_dir: pathlib.Path,
  config: str,
  signals: StopSignals,
  resume: dict[str, Ledger],
) -> None:
  """Trains from the newest checkpoints, or from the ledgers in `resume`."""
  with together():
    prepare(run, run_dir)
  mesh = run.mesh.make()
  with run_folder.locked(run_dir), jax.set_mesh(mesh):
    stages = lay_out(run, run_dir)  # again: now nobody else changes it
    for stage in stages:
      setbacks.checkpoints_of(run, stage).sweep()
    done = sum(stage.steps_done for stage in stages)
    check_same('what is trained already', f'{done} steps')
    identity = run_folder.identify(run, run_dir, mesh, config)
    total = sum(stage.phase.steps for stage in stages)
    with (
      contextlib.closing(open_log(run_dir, vouched_steps(run_dir))) as log,
      Progress(total, done, shown=primary()) as progress,
      signals,
    ):
      shared = _Shared(
        run, stages, mesh, log, progress, signals, config, identity, resume
      )
      for stage in stages:
        if stage.done:
          write_lineage(stage, stage.saved)
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
  resume: dict[str, Ledger]


class _Training:
  """One phase in training: its compiled step, its state, its ledger."""

  def __init__(self, shared: _Shared, stage: Stage):
    self.run, self.stage, self.phase = shared.run, stage, stage.phase
    self.log, self.shared = shared.log, shared
    self.checkpoints = setbacks.checkpoints_of(self.run, stage)
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
    self._build()
    self.log.open_phase(phase.name, stage.start_step + self.taken)
    write_lineage(stage, self._lineage())
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
      if stop and not (last and stage is self.shared.stages[-1]):
        raise Interrupted(
          f'stopped at step {self.taken} of phase {phase.name!r}; '
          'the same command goes on from there'
        )

  def _build(self) -> None:
    """Data, compiled programs and the state to go on from."""
    run, stage, phase = self.run, self.stage, self.phase
    mesh = self.shared.mesh
    self.ledgers = entry.read_ledgers(run, stage)
    self.ledger = self.shared.resume.pop(phase.name, self.ledgers.now)
    self.taken = stage.steps_done
    self.feed = Feed(mesh, phase.batch_size)
    builder = entry.make_builder(run, phase, self.ledgers, self.feed.own)
    self.builder = Prefetch(builder)
    sources = sources_evaluated(run, self.shared.stages, stage)
    self.source_loss = SourceLoss(run, phase, mesh, sources)
    optimizer = phase.optimizer.make(run.model.axes())
    self.state, shardings = entry.make_state(run, stage, mesh, optimizer)
    step = entry.make_step(run, stage, optimizer, len(builder.series))
    places = shardings, jax.P()
    step = jax.jit(step, donate_argnums=0, out_shardings=places)
    self.train_step = launched_together(step)
    self.reports = StepReports(stage, self.log, run.log_every, builder.series)
    self.measured: dict[str, float] = {}
    per_step = phase.tokens_per_step, phase_flops(run, phase).total
    self.speed = Speed(*per_step, self.taken, run.log_every)

  def _step(self) -> None:
    before = self.ledger
    batch, self.ledger = self.builder.next(self.taken, before)
    self.window.before(self.taken)
    self.state, report = self.train_step(self.state, self.feed.place(batch))
    self.taken, self.measured = self.taken + 1, {}
    self.reports.put(self.taken, report, before, self.ledger)

  def _flush(self, keep: int = 0) -> None:
    """Logs the reports of all but the `keep` newest steps, and heeds them.

    One step is left running while its predecessors are fetched, so that the
    device is never idle for the sake of a log line.
    """
    for bad in self.reports.fetch(keep):
      self.checkpoints.wait()  # one may be wanted
      ledgers = self.ledgers.entry, self.ledger
      self.ledger = setbacks.met(self.stage, bad, ledgers)
    if self.reports.fetched:
      self._note_speed(self.reports.fetched, self.reports.loss)

  def _note_speed(self, taken: int, loss: float) -> None:
    steps, timings = self.speed.measure(taken, taken == self.phase.steps)
    if steps:
      self.log.timings(*self.stage.place(taken), timings)
      note = f'loss {loss:.3f}, {timings["tokens_per_second"]:,.0f} tokens/s'
      self.shared.progress.advance(steps, self.phase.name, note)

  def _evaluate(self) -> None:
    self._flush()
    with self.speed.paused():
      losses = self.source_loss.run(self.state.params)
      if self.taken == self.phase.steps:
        for measure in self.phase.evaluate.final:
          losses |= measure(self.run, self.state.params)
    self.reports.check_finite(losses, self.taken)
    self.log.metrics(*self.stage.place(self.taken), losses)
    self.measured = losses

  def _save(self) -> None:
    self._flush()
    self.log.flush()
    lineage = self._lineage()
    record = {
      'lineage': lineage.to_json(),
      'model': definition(self.run.model),
      'config': self.shared.config,
      'metrics': self.measured,
    }
    try:
      with self.speed.paused():
        self.checkpoints.save(self.state, record)
    except FloatingPointError as error:
      raise Stopped(f'{error} at step {self.taken}; it was not saved') from None
    write_lineage(self.stage, lineage)

  def _lineage(self) -> Lineage:
    stage, phase = self.stage, self.phase
    end_step, end_tokens = self.stage.place(self.taken)
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
      ancestors=entry.to_json(self.ledgers.ancestors),
      definition=definition(phase),
    )
