"""All pictures of a run, with the line that says how to read each."""

import dataclasses
from collections.abc import Sequence

from tpu_lm.report.curves import (
  gaps,
  learning_rates,
  losses,
  losses_by_source,
)
from tpu_lm.report.diagrams import matrices, tree
from tpu_lm.report.measures import Arm
from tpu_lm.report.objectives import objectives
from tpu_lm.report.record import RunRecord
from tpu_lm.report.style import drawing, to_svg


@dataclasses.dataclass(frozen=True)
class Picture:
  """A drawn picture.

  Attributes:
    name: of its file, without `.svg`.
    title: what it shows.
    caption: how to read it.
    svg: the drawing.
  """

  name: str
  title: str
  caption: str
  svg: str


KINDS = (
  (
    'tree',
    'The tree of phases',
    'A bar is a phase, coloured by the shares of what it read; a line leads '
    'down from where the parent was left. The rate is the last one used. '
    'Training may go on from a trunk; an annealed model is one to use.',
    lambda record, arms: tree(record),
  ),
  (
    'losses',
    'Loss on every source',
    'One row an arm, one line a source, in nats a token. The strip above '
    'tells what was being read, dots are shipped models, thin lines the '
    'branches that lead to them. The first fall of a fresh model is cut off.',
    losses,
  ),
  (
    'objectives',
    'Loss on every objective',
    'Where rows of several objectives are read: one row an arm, one line an '
    'objective, over all sources, in nats a token that is predicted. '
    'Objectives are no measure of each other: some are easier.',
    objectives,
  ),
  (
    'losses_by_source',
    'The arms against each other',
    'The same losses, one row a source, one line an arm; grey is what arms '
    'share. Vertical lines are switches.',
    losses_by_source,
  ),
  (
    'gaps',
    'After each switch',
    'The change of the loss on what was already known, from the parent’s own '
    'at the switch: above the line is worse than before. The first third of '
    'the phase is shown, or all of it where that was evaluated less than '
    'three times; of more than twelve pictures, those of the largest rises.',
    gaps,
  ),
  (
    'matrices',
    'What each shipped model knows',
    'Rows are the models that an arm shipped, in order; columns are sources. '
    'Darker is further above the lowest loss of any model on that source. A '
    'frame marks the stage that brought the source: what darkens below it is '
    'forgotten, where the objective has not changed.',
    matrices,
  ),
  (
    'learning_rates',
    'Learning rates',
    'One row an arm, as logged, each phase drawn on from its parent’s last '
    'rate; thin lines are the branches that anneal a trunk to ship it.',
    learning_rates,
  ),
)
NEEDS_LOSSES = {'losses', 'losses_by_source', 'gaps', 'matrices'}


def draw(record: RunRecord, arms: Sequence[Arm]) -> list[Picture]:
  """Draws every picture that the run has something for."""
  pictures = []
  with drawing():
    for name, title, caption, make in KINDS:
      if name in NEEDS_LOSSES and not record.evaluated:
        continue
      figure = make(record, arms)
      if figure is not None:
        svg = to_svg(figure, name)
        pictures.append(Picture(name, title, caption, svg))
  return pictures
