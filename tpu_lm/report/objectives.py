"""The loss on each objective, where a run has several."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from tpu_lm.report.measures import Arm
from tpu_lm.report.panels import (
  LINE,
  columns,
  make_rows,
  phase_strip,
  pieces,
  share_steps,
)
from tpu_lm.report.record import RunRecord
from tpu_lm.report.style import arm_style, label_ends

OBJECTIVE = 'validation/objective/'


def objectives(record: RunRecord, arms: Sequence[Arm]) -> Figure | None:
  """One row for each arm with several objectives; None where none has."""
  found = {
    metric.removeprefix(OBJECTIVE): None
    for phase in record.phases.values()
    for metric in phase.metrics
    if metric.startswith(OBJECTIVE)
  }
  arms = [arm for arm in arms if any(map(_told, arm.phases))]
  if not arms:
    return None
  colours = arm_style(list(found))
  texts = [f'{name} 0.000' for name in found]
  height = max(1.35, LINE * len(found))
  figure, rows = make_rows(len(arms), height, top=0.5, labels=texts)
  share_steps(rows, arms)
  for arm, axes in zip(arms, rows):
    labels = []
    for name in found:
      last = None
      for _, points in pieces(arm, OBJECTIVE + name):
        axes.plot(*columns(points), **colours[name])
        last = points[-1][1] if points else last
      if last is not None:
        labels.append((last, f'{name} {last:.3f}', colours[name]['color']))
    label_ends(axes, labels)
    axes.set_title(arm.name, pad=19)
    phase_strip(record, arm, axes)
  return figure


def _told(phase) -> bool:
  return any(metric.startswith(OBJECTIVE) for metric in phase.metrics)
