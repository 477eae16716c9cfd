"""The page and the terminal's table, of whole and of broken run folders."""

import html.parser
import json
import subprocess
import sys

import pytest
import rich.console

from tpu_lm import report
from tpu_lm.checks import UserError
from tpu_lm.report.pictures import KINDS

VOID = {'meta', 'br', 'link', 'img', 'use', 'path'}


class Reader(html.parser.HTMLParser):
  """Checks that tags nest; gathers tags, ids and text."""

  def __init__(self):
    super().__init__()
    self.open, self.tags, self.ids, self.text = [], [], [], []

  def handle_starttag(self, tag, attributes):
    self.tags.append(tag)
    self.ids += [value for key, value in attributes if key == 'id']
    if tag not in VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attributes):
    self.tags.append(tag)
    self.ids += [value for key, value in attributes if key == 'id']

  def handle_endtag(self, tag):
    if tag not in VOID:
      assert self.open.pop() == tag

  def handle_data(self, data):
    self.text.append(data)


def read(path):
  reader = Reader()
  reader.feed(path.read_text())
  assert reader.open == []
  assert len(reader.ids) == len(set(reader.ids))
  return reader, ' '.join(' '.join(reader.text).split())


def a_tree(run_folder, base='base', **facts):
  folder = run_folder(**facts)
  folder.phase(base, kind='trunk', prose=[5.0, 2.0], python=[5.0, 4.0])
  folder.phase('ship', base, 20, prose=[2.0, 1.5], python=[4.0, 3.75])
  for replay in (None, {'prose': 0.25}):
    name = 'next_replay' if replay else 'next_plain'
    folder.phase(
      name,
      base,
      sources=('python',),
      replay=replay,
      prose=[2.0, 3.0, 2.5],
      python=[4.0, 2.0, 1.5],
    )
  return folder


def test_the_page_holds_every_picture_and_table(run_folder):
  folder = a_tree(run_folder, parameters=1_017_344)
  for name, values in {'R 3 0.15': [9.0, 5.0], 'S': [5.0, 4.5]}.items():
    metric = f'validation/objective/{name}'
    folder.series('next_plain', metric, 100, 100, values)
  (folder.path / 'config.gin').write_text('AdamW.b1 = 0.9 # <&>')
  (folder.path / 'parameters.txt').write_text('total 1,017,344')
  page = report.write_report(folder.path)
  assert page == folder.path / 'report' / 'index.html'
  reader, text = read(page)
  assert reader.tags.count('svg') == len(KINDS)
  for name, title, _, _ in KINDS:
    assert title in text
    assert (page.parent / f'{name}.svg').read_text().startswith('<svg')
  assert reader.tags.count('table') == 4
  assert 'python 75%, prose again 25%' in text
  objectives = (page.parent / 'objectives.svg').read_text()
  assert 'R 3 0.15 5.000' in objectives and 'S 4.500' in objectives
  assert 'next_replay' not in objectives  # it has one objective
  assert 'AdamW.b1 = 0.9 # <&>' in text
  assert 'total 1,017,344' in text
  assert 'script' not in reader.tags


def test_the_page_needs_nothing_else(run_folder):
  page = report.write_report(a_tree(run_folder).path).read_text()
  for load in ('src=', '<link', '@import', 'url(http', '"//'):
    assert load not in page


def test_data_is_escaped_everywhere(run_folder):
  evil = '<script>alert(1)<'  # a folder's name holds no slash
  folder = a_tree(run_folder, base=evil, name=f'{evil}/script>')
  (folder.path / 'config.gin').write_text(f'{evil}/script>')
  page = report.write_report(folder.path)
  reader, text = read(page)
  assert 'script' not in reader.tags
  assert '<script' not in page.read_text()
  assert f'{evil}/script>' in text
  for picture in page.parent.glob('*.svg'):
    assert '<script' not in picture.read_text()


def test_the_same_folder_gives_the_same_page(run_folder):
  folder = a_tree(run_folder)
  first = report.write_report(folder.path).read_bytes()
  assert report.write_report(folder.path).read_bytes() == first


def one_phase(folder):
  folder.phase('base', prose=[5.5, 2.0])


def just_begun(folder):
  folder.phase('base', status='running')
  (folder.path / 'metrics.jsonl').unlink()


def running_child(folder):
  folder.phase('base', prose=[5.5, 2.0])
  folder.phase('next', 'base', 40, status='running', prose=[2.0])


def not_finite(folder):
  folder.phase('base', prose=[5.5, float('nan')], rates=(3e-4, float('inf')))


def twenty_sources(folder):
  names = [f'a_language_with_a_long_name_{i}' for i in range(20)]
  parent = None
  for name in names[:6]:
    losses = {s: [3.0, 2.5, 2.0 + i / 50] for i, s in enumerate(names)}
    folder.phase(f'phase_{name}', parent, sources=(name,), **losses)
    parent = f'phase_{name}'


def without_facts(folder):
  folder.phase('base', prose=[5.5, 2.0])
  (folder.path / 'run.json').unlink()


BUILDERS = (
  one_phase,
  just_begun,
  running_child,
  not_finite,
  twenty_sources,
  without_facts,
)


@pytest.mark.parametrize('build', BUILDERS, ids=lambda b: b.__name__)
def test_any_folder_gets_a_page_and_a_table(run_folder, build):
  folder = run_folder()
  build(folder)
  _, text = read(report.write_report(folder.path))
  assert 'This run trained' in text
  lines = printed(folder.path)
  assert max(map(len, lines)) <= 100
  assert 'nan' not in text.split()
  if build is not_finite:
    assert 'prose is not finite at 1 of 2 points, first at step 100' in text
  if build is without_facts:
    assert 'run.json' in text


def printed(path):
  console = rich.console.Console(width=200)
  with console.capture() as capture:
    console.print(report.summary_table(path))
  return [line.rstrip() for line in capture.get().split('\n')]


def test_the_summary_table(run_folder):
  lines = printed(a_tree(run_folder).path)
  plain = next(line for line in lines if ' plain ' in line)
  # prose, python, their mean, forgetting (2.5 - 1.5), gap (3.0 - 2.0)
  numbers = ['2.500', '1.500', '2.000', '+1.000', '+1.000']
  assert plain.split() == ['plain', *numbers]


def test_a_folder_that_is_no_run(tmp_path):
  with pytest.raises(UserError, match='not a run folder'):
    report.write_report(tmp_path)
  assert not (tmp_path / 'report').exists()


def test_the_package_is_light():
  code = (
    'import sys, json, tpu_lm.report;'
    'print(json.dumps([m for m in ("jax", "matplotlib") if m in sys.modules]))'
  )
  output = subprocess.check_output([sys.executable, '-c', code], text=True)
  assert json.loads(output) == []


@pytest.mark.parametrize('peak', [True, False])
def test_the_page_says_what_the_machine_did(run_folder, peak):
  folder = a_tree(run_folder)
  values = {'tokens_per_second': [10, 30, 20], 'goodput': [0.2, 0.5, 0.93]}
  if peak:
    values['utilisation'] = [0.3, 0.41, 0.42]
  lines = [
    {'step': step, 'phase': 'base', 'name': name, 'value': value, 'tokens': 0}
    for name, series in values.items()
    for step, value in enumerate(series)
  ]
  (folder.path / 'timings.jsonl').write_text('\n'.join(map(json.dumps, lines)))
  _, text = read(report.write_report(folder.path))
  assert 'in steps' in text and '93%' in text and '50%' not in text
  assert ('of peak' in text) == peak == ('41%' in text)
