"""The house keeps its levels, and its core stays small."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / 'tpu_lm'
LEVELS = (
  'checks shapes tree processes checksums patience',
  'sharding feeding state step accumulate schedules optimizers blocks compiled',
  'models objectives methods data generate evals checkpoint lineage run_log '
  'progress interrupt warm_start evaluate speed profiling record retention '
  'checkpoint_folder guard step_reports',
  'phase stages entry plan run_folder prepare setbacks loop report survey '
  'families same forecast restore',
  'config cli commands config_errors',
)
LEVEL = {room: i for i, rooms in enumerate(LEVELS) for room in rooms.split()}
# Within a level, who may import whom.
NEIGHBOURS = {
  'tree': {'checks'},
  'checksums': {'tree'},
  'processes': {'checks'},
  'patience': {'checks'},
  'feeding': {'sharding'},
  'step': {'state', 'accumulate'},
  'blocks': {'sharding'},
  'evals': {'data', 'generate'},
  'checkpoint': {'record', 'retention', 'checkpoint_folder'},
  'step_reports': {'data', 'run_log'},
  'stages': {'phase'},
  'plan': {'phase', 'stages', 'entry'},
  'prepare': {'phase', 'stages', 'run_folder', 'plan'},
  'forecast': {'phase', 'stages', 'entry', 'report'},
  'setbacks': {'phase', 'stages', 'run_folder'},
  'survey': {'phase', 'stages', 'plan', 'report'},
  'run_folder': {'phase'},
  'entry': {'phase', 'stages'},
  'loop': {
    'phase',
    'stages',
    'entry',
    'run_folder',
    'prepare',
    'forecast',
    'setbacks',
  },
  'config': {'config_errors'},
  'commands': {'config'},
  'cli': {'commands'},
}
PLUG_INS = {
  'schedules': {'base', 'pieces', 'warmed'},
  'optimizers': {'common', 'adam', 'offload'},
  'models': {'modules', 'stack', 'transformer', 'one_stack'},
  'objectives': {'logit_summary'},
  'methods': set(),
  'evals': set(),
}
# Rooms with plug-ins beside what they share.
INNER_PLUG_INS = {
  'data/examples': 'chat instruction pair template text',
  # `ul2` is made of some of them and stands above.
  'data/noise': 'bart code_switch entities fill_in_the_middle masked_lm mass'
  ' mixed prefix sentences span_corruption',
  'data/sources': 'array_record arrow comma_separated json_lines parquet text '
  'tfrecord',
  'data/vocabularies': 'bytes sentence_piece tokenizer_json',
  'families': 'bart bert gemma gpt2 gpt_neox llama olmo2 qwen t5',
}
CORE = 'shapes tree sharding state step accumulate phase loop config'
CORE_LINES = 1200
FILES = sorted(PACKAGE.rglob('*.py'))


def imports(path):
  """Dotted names of what a file of the package imports, wherever it does."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}: relative import'
      yield node.module
      if node.module == 'tpu_lm':
        yield from (f'tpu_lm.{alias.name}' for alias in node.names)


def room_of(path):
  parts = path.relative_to(PACKAGE).with_suffix('').parts
  return parts[0]


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path):
  room = room_of(path)
  if room == '__init__':
    return
  assert room in LEVEL, f'{room} has no level: add it to LEVELS'
  for name in imports(path):
    parts = name.split('.')
    if parts[0] != 'tpu_lm' or len(parts) == 1:
      continue
    other = parts[1]
    allowed = (
      LEVEL[other] < LEVEL[room]
      or other == room
      or other in NEIGHBOURS.get(room, set())
    )
    assert allowed, f'{room} (level {LEVEL[room]}) imports {name}'
    if other == room and room in PLUG_INS and len(parts) > 2:
      assert parts[2] in PLUG_INS[room], f'{path} imports the plug-in {name}'


@pytest.mark.parametrize('room', INNER_PLUG_INS)
def test_inner_plug_ins_know_nothing_of_each_other(room):
  names = INNER_PLUG_INS[room].split()
  dotted = room.replace('/', '.')
  for name in names:
    imported = set(imports(PACKAGE / room / f'{name}.py'))
    others = {f'tpu_lm.{dotted}.{o}' for o in names if o != name}
    assert not imported & others, f'{name}: {imported & others}'


def test_no_cycles():
  graph = {}
  for path in FILES:
    name = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
    graph[name.removesuffix('.__init__')] = set(imports(path))

  def visit(name, above):
    assert name not in above, f'cycle: {[*above, name]}'
    for other in graph.get(name, ()):
      if other in graph and other not in done:
        visit(other, [*above, name])
    done.add(name)

  done = set()
  for name in graph:
    visit(name, [])


def test_only_config_imports_gin():
  users = {p.name for p in FILES if 'gin' in {n[:3] for n in imports(p)}}
  assert users == {'config.py'}


def test_the_core_is_small():
  lines = {
    name: len((PACKAGE / f'{name}.py').read_text().split('\n')) - 1
    for name in CORE.split()
  }
  assert sum(lines.values()) <= CORE_LINES, lines


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_small(path):
  assert len(path.read_text().split('\n')) <= 301, 'over 300 wants splitting'
