"""The page of a run: one HTML file that needs nothing else."""

import html
import pathlib
from collections.abc import Sequence

from tpu_lm.report.measures import Arm, find_arms
from tpu_lm.report.paragraph import paragraph
from tpu_lm.report.record import RunRecord, read_run
from tpu_lm.report.stylesheet import STYLESHEET
from tpu_lm.report.tables import (
  Table,
  arm_table,
  bad_step_table,
  gap_table,
  phase_table,
  transfer_table,
)
from tpu_lm.report.words import count, several


def write_report(run_dir: str | pathlib.Path) -> pathlib.Path:
  """Writes RUN_DIR/report: index.html and its pictures as files.

  The page holds the pictures itself, so that it can be sent alone; running
  or broken runs get a page of what there is.

  Returns:
    The path of index.html.

  Raises:
    UserError: there is no phase in the folder.
  """
  # Matplotlib takes a while to import, and only drawing needs it.
  from tpu_lm.report.pictures import draw
  from tpu_lm.report.style import css, standalone

  record = read_run(run_dir)
  arms = find_arms(record)
  pictures = draw(record, arms)
  folder = record.directory / 'report'
  folder.mkdir(exist_ok=True)
  for picture in pictures:
    file = folder / f'{picture.name}.svg'
    file.write_text(standalone(picture.svg), encoding='utf-8')
  style = css() + STYLESHEET
  figures = {
    picture.name: _figure(picture.title, picture.caption, picture.svg)
    for picture in pictures
  }
  page = folder / 'index.html'
  page.write_text(_page(record, arms, style, figures), encoding='utf-8')
  return page


def _page(
  record: RunRecord,
  arms: Sequence[Arm],
  style: str,
  figures: dict[str, str],
) -> str:
  """The whole document."""
  title = _text(record.name)
  has_gaps = any(arm.gaps for arm in arms)
  has_transfer = any(arm.forgetting for arm in arms)
  parts = [
    f'<header><h1>{title}</h1><p class="facts">{_facts(record)}</p></header>',
    f'<p class="lead">{_text(paragraph(record, arms))}</p>',
    _notes(record),
    _section(
      'Arms',
      'An arm is a chain of phases from a root to a leaf; its numbers are '
      'those of the last model it ships. Validation losses in nats a token; '
      'forgetting is their mean rise since each source’s own stage, the gap '
      'the highest rise after a switch. The lowest of a column is bold.',
      _table(arm_table(arms, record.evaluated)),
    ),
    *(
      figures.pop(name, '')
      for name in ('tree', 'losses', 'losses_by_source', 'gaps')
    ),
    _details('Every rise after a switch', _table(gap_table(arms)))
    if has_gaps
    else '',
    figures.pop('matrices', ''),
    _section(
      'Transfer',
      'Forgetting: final loss less the loss after the source’s own stage, '
      'positive is worse. Backward transfer is its mean with the sign turned '
      'round. Forward transfer: how much the loss on sources yet unread fell '
      'against the base: the parent outside this folder, else the first model '
      'that the arm ships; positive is better.',
      _table(transfer_table(arms)),
    )
    if has_transfer
    else '',
    *figures.values(),
    _section(
      'Bad steps',
      'Steps whose numbers were bad, and from which nothing was kept; crosses '
      'at the foot of the losses. Their rows are not replayed.',
      _table(bad_step_table(record)),
    )
    if any(phase.bad_steps for phase in record.phases.values())
    else '',
    _section(
      'Phases',
      'What was read is counted by the ledger; “again” is replay.',
      _table(phase_table(record)),
    ),
    _file(record, 'parameters.txt', 'Parameters'),
    _file(record, 'config.gin', 'Configuration as it ran'),
    _places(record),
  ]
  body = '\n'.join(part for part in parts if part)
  return (
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    f'<title>{title}</title>\n<style>\n{style}</style>\n</head>\n'
    f'<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n'
  )


def _facts(record: RunRecord) -> str:
  """The line under the title."""
  model = record.facts.get('model') or {}
  size = record.facts.get('parameters')
  nodes = record.phases.values()
  speeds = [p.tokens_per_second for p in nodes if p.tokens_per_second]
  facts = [
    str(model.get('class') or ''),
    f'{size:,} parameters' if isinstance(size, int) else '',
    several(len(nodes), 'phase'),
    f'{count(sum(phase.tokens for phase in nodes))} tokens',
    f'{count(sorted(speeds)[len(speeds) // 2])} tokens a second'
    if speeds
    else '',
    f'seed {record.facts["seed"]}' if 'seed' in record.facts else '',
    f'run {record.facts["run"]}' if 'run' in record.facts else '',
  ]
  return ' · '.join(_text(fact) for fact in facts if fact)


def _notes(record: RunRecord) -> str:
  """What was left out in reading the folder."""
  if not record.notes:
    return ''
  items = ''.join(f'<li>{_text(note)}</li>' for note in record.notes)
  return f'<aside><p>Left out or missing:</p><ul>{items}</ul></aside>'


def _section(title: str, caption: str, content: str) -> str:
  return (
    f'<section><h2>{_text(title)}</h2>'
    f'<p class="caption">{_text(caption)}</p>{content}</section>'
  )


def _figure(title: str, caption: str, svg: str) -> str:
  """A picture; its text was escaped where it was drawn."""
  return _section(title, caption, f'<div class="picture">{svg}</div>')


def _details(title: str, content: str) -> str:
  return f'<details><summary>{_text(title)}</summary>{content}</details>'


def _table(table: Table) -> str:
  """A table that scrolls by itself where it is wider than the page."""
  words = [
    ' class="words"' * (column in table.words) for column in table.columns
  ]
  head = ''.join(
    f'<th{kind}>{_text(column)}</th>'
    for kind, column in zip(words, table.columns)
  )
  body = '\n'.join(
    '<tr>'
    + ''.join(
      f'<td{kind}>{_strong(cell, (i, j) in table.best)}</td>'
      for j, (kind, cell) in enumerate(zip(words, row))
    )
    + '</tr>'
    for i, row in enumerate(table.rows)
  )
  return (
    f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
    f'<tbody>{body}</tbody></table></div>'
  )


def _strong(cell: str, best: bool) -> str:
  return f'<strong>{_text(cell)}</strong>' if best else _text(cell)


def _file(record: RunRecord, name: str, title: str) -> str:
  """A text file of the run folder, folded away; '' if it is not there."""
  path = record.directory / name
  if not path.is_file():
    return ''
  content = path.read_text(encoding='utf-8', errors='replace')
  return _details(title, f'<pre>{_text(content)}</pre>')


def _places(record: RunRecord) -> str:
  """Where everything lies, as links that work from the page's folder."""
  places = (
    ('metrics.jsonl', 'every number, a pure function of the configuration'),
    ('timings.jsonl', 'what this machine did'),
    ('config.gin', 'the configuration as it ran'),
    ('parameters.txt', 'the table of parameters'),
    ('phases', 'a lineage and the checkpoints of each phase'),
    ('tensorboard', 'the same numbers for TensorBoard'),
  )
  items = ''.join(
    f'<li><a href="../{name}">{name}</a> {_text(what)}</li>'
    for name, what in places
    if (record.directory / name).exists()
  )
  folder = _text(str(record.directory.resolve()))
  return (
    f'<footer><p>In <code>{folder}</code>:</p><ul>{items}</ul>'
    '<p>The pictures lie beside this page as SVG files.</p></footer>'
  )


def _text(value: str) -> str:
  return html.escape(value)
