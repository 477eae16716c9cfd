"""What a run writes while it trains: metrics, timings, TensorBoard, tables.

`metrics.jsonl` is a pure function of the configuration: a run that was killed
and started again ends with the same bytes as one that never stopped. What
depends on the machine goes to `timings.jsonl`.
"""

import json
import os
import pathlib
import time
from collections.abc import Sequence

import numpy as np
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from tpu_lm.processes import primary

METRICS = 'metrics.jsonl'
TIMINGS = 'timings.jsonl'


def named_values(
  report: dict, series: Sequence[tuple[str, str]]
) -> dict[str, float]:
  """A train step's report as named numbers.

  Args:
    report: of `make_train_step`, as NumPy arrays.
    series: source and objective of each of the series that its means count.

  Returns:
    learning_rate, gradient_norm, train/METRIC over all rows, train/loss/SOURCE
    of each source and, where there are several objectives, train/objective/NAME
    of each objective that had rows in the batch.
  """
  values = {
    'learning_rate': float(report['learning_rate']),
    'gradient_norm': float(report['gradient_norm']),
  }
  for name, mean in report['metrics'].items():
    total, weight = mean.total.astype(np.float64), mean.weight
    values[f'train/{name}'] = float(total.sum() / max(weight.sum(), 1e-9))
  loss = report['metrics']['loss']
  sources, objectives = zip(*series, strict=True)
  several = len(set(objectives)) > 1
  for kind, names in {'loss': sources, 'objective': objectives}.items():
    for name in dict.fromkeys(names if kind == 'loss' or several else ()):
      own = np.array([other == name for other in names])
      weight = loss.weight[own].sum()
      if weight > 0:
        values[f'train/{kind}/{name}'] = float(loss.total[own].sum() / weight)
  return values


class RunLog:
  """Appends to the logs of a run folder.

  Args:
    run_dir: the run folder.
    vouched: the step of the newest checkpoint of each phase. Metrics of later
      steps, and of other phases, were written by a killed process; they are
      dropped, and will be written anew.
  """

  def __init__(self, run_dir: pathlib.Path, vouched: dict[str, int]):
    self.run_dir = run_dir
    _keep_vouched(run_dir / METRICS, vouched)
    self._metrics = (run_dir / METRICS).open('ab')
    self._timings = (run_dir / TIMINGS).open('ab')
    self._phase: str | None = None
    self._board: RecordWriter | None = None
    self._board_file = None

  def open_phase(self, phase: str, step: int) -> None:
    """Names the phase that the next values belong to; each has its board."""
    self._close_board()
    self._phase = phase
    folder = self.run_dir / 'tensorboard' / phase
    folder.mkdir(parents=True, exist_ok=True)
    name = f'events.out.tfevents.{int(time.time())}.{os.getpid()}'
    self._board_file = (folder / name).open('ab')
    self._board = RecordWriter(self._board_file)
    self._event(0, file_version='brain.Event:2')
    # Tells TensorBoard to forget what a killed process logged after `step`.
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    self._event(step + 1, session_log=start)

  def metrics(self, step: int, tokens: int, values: dict[str, float]) -> None:
    """Writes values that follow from the configuration."""
    self._write(self._metrics, step, tokens, values)

  def timings(self, step: int, tokens: int, values: dict[str, float]) -> None:
    """Writes values that depend on the machine."""
    self._write(self._timings, step, tokens, values)

  def flush(self) -> None:
    """Everything to the disk, before a checkpoint vouches for it."""
    for file in (self._metrics, self._timings, self._board_file):
      if file is not None:
        file.flush()
    os.fsync(self._metrics.fileno())

  def close(self) -> None:
    """Flushes and closes all files."""
    self.flush()
    self._close_board()
    self._metrics.close()
    self._timings.close()

  def _write(self, file, step, tokens, values) -> None:
    for name, value in values.items():
      line = {
        'step': step,
        'phase': self._phase,
        'name': name,
        'value': value,
        'tokens': tokens,
      }
      file.write(json.dumps(line).encode() + b'\n')
    summary = summary_pb2.Summary(
      value=[
        summary_pb2.Summary.Value(tag=name, simple_value=value)
        for name, value in values.items()
      ]
    )
    self._event(step, summary=summary)

  def _event(self, step: int, **content) -> None:
    event = event_pb2.Event(wall_time=time.time(), step=step, **content)
    self._board.write(event.SerializeToString())

  def _close_board(self) -> None:
    if self._board is not None:
      self._board.close()
      self._board = self._board_file = None


class NoLog:
  """Takes the place of a `RunLog` in processes that write none."""

  def __init__(self, run_dir: pathlib.Path):
    self.run_dir = run_dir

  def _nothing(self, *_) -> None:
    pass

  open_phase = metrics = timings = flush = close = _nothing


def open_log(run_dir: pathlib.Path, vouched: dict[str, int]) -> RunLog | NoLog:
  """A `RunLog` in the primary process of a run, else one that writes none."""
  return RunLog(run_dir, vouched) if primary() else NoLog(run_dir)


def _keep_vouched(path: pathlib.Path, vouched: dict[str, int]) -> None:
  """Rewrites a metrics file without what no checkpoint vouches for."""
  if not path.is_file():
    return
  lines = path.read_bytes().splitlines(keepends=True)
  kept = [line for line in lines if _is_vouched(line, vouched)]
  if kept != lines:
    temporary = path.with_name(f'.{path.name}')
    temporary.write_bytes(b''.join(kept))
    temporary.replace(path)


def _is_vouched(line: bytes, vouched: dict[str, int]) -> bool:
  try:
    point = json.loads(line)
  except ValueError:  # torn by a kill
    return False
  return point['step'] <= vouched.get(point['phase'], -1)
