"""gin files: real constructors, one-line errors, shipped files that work."""

import pathlib

import jax
import pytest

from tests.data.helpers import tiny_corpus
from tpu_lm import config
from tpu_lm.checks import UserError
from tpu_lm.loop import train
from tpu_lm.stages import lay_out
from tpu_lm.tree import count

ROOT = pathlib.Path(__file__).parents[1]
CONFIGS = ROOT / 'gin_configs'
QUICKSTART = str(CONFIGS / 'runs' / 'quickstart.gin')
# Parameters: the last three are the counts published for Llama 3, the others
# V D + L (2 D + 2 D K (H + N) + 3 D F) + D, and 2 K a layer for QK-norm.
SIZES = {
  'nano': 357_312,
  'micro': 1_017_344,
  '3m': 3_214_336,
  '25m': 20_259_840,
  '125m': 114_839_808,
  '350m': 354_471_936,
  '1b': 1_235_814_400,
  '3b': 3_212_749_824,
  '8b': 8_030_261_248,
  '70b': 70_553_706_496,
}


@pytest.mark.parametrize(
  'path', sorted((CONFIGS / 'runs').rglob('*.gin')), ids=lambda path: path.stem
)
def test_shipped_runs_dry_run(path, tmp_path):
  text = path.read_text()
  for word in ('command', 'hardware', 'time', 'expected'):
    assert f'#   {word}' in text, f'the head of {path.name} lacks {word!r}'
  bindings = []
  if path.stem == 'anneal':  # its parent is another run's phase
    tiny_corpus(tmp_path / 'stores', {'mine': ['some text to read'] * 200})
    parent = config.load(
      [str(CONFIGS / 'runs' / 'files.gin')],
      ['STEPS = 2', f"Corpus.store_dir = '{tmp_path / 'stores'}'"],
    )
    train(parent.run, tmp_path / 'parent')
    folder = tmp_path / 'parent' / 'phases' / 'base'
    bindings = [f"Phase.parent = '{folder}'"]
  loaded = config.load([str(path)], bindings)
  assert loaded.unused == ()
  assert len(lay_out(loaded.run, tmp_path)) == len(loaded.run.phases)


@pytest.mark.parametrize(
  'path',
  [p for p in sorted(CONFIGS.rglob('*.gin')) if 'runs' not in p.parts],
  ids=lambda path: path.stem,
)
def test_fragments_parse_alone(path):
  with pytest.raises(UserError, match=r'Run|configurable'):
    config.load([str(path)])  # it parses, and lacks a run


@pytest.mark.parametrize('name', SIZES)
def test_sizes(name):
  fragment = CONFIGS / 'models' / f'decoder_{name}.gin'
  loaded = config.load(
    [QUICKSTART, str(fragment)], ['Decoder.unroll = 1', 'Run.seed = 1']
  )
  model = loaded.run.model
  params = jax.eval_shape(model.init, jax.random.key(0))
  assert count(params) == SIZES[name]


@pytest.mark.parametrize(
  ('run', 'parameters'),
  [
    ('t5_small', 76_961_152),  # as published
    ('bart_base', 139_420_416 - 2 * 2 * 768),  # without two unused positions
    ('bert_base', 109_514_298 - 2 * 768),  # without kinds of sentences
  ],
)
def test_published_sizes(run, parameters):
  model = config.load([str(CONFIGS / 'runs' / f'{run}.gin')]).run.model
  params = jax.eval_shape(model.init, jax.random.key(0))
  assert count(params) == parameters


@pytest.mark.parametrize(
  ('name', 'parameters'),
  [
    ('moe_micro', 1_807_872),
    ('olmoe_1b_7b', 6_919_161_856),  # as published, 6.92 B
  ],
)
def test_sizes_with_experts(name, parameters):
  fragment = CONFIGS / 'models' / f'{name}.gin'
  bindings = ['Decoder.unroll = 1', 'Run.seed = 1']
  model = config.load([QUICKSTART, str(fragment)], bindings).run.model
  params = jax.eval_shape(model.init, jax.random.key(0))
  assert count(params) == parameters


def test_all_sizes_are_tested():
  shipped = {p.stem for p in (CONFIGS / 'models').glob('decoder_*.gin')}
  assert shipped == {f'decoder_{name}' for name in SIZES}


def test_bindings_override(tmp_path):
  loaded = config.load([QUICKSTART], ['Run.seed=7', 'BATCH = 32'])
  assert loaded.run.seed == 7
  assert {phase.batch_size for phase in loaded.run.phases} == {32}


def test_a_guard_beside_a_run():
  run = config.load([QUICKSTART, str(CONFIGS / 'guard.gin')]).run
  assert {phase.guard.not_finite for phase in run.phases} == {'roll_back'}
  assert {phase.guard.spike for phase in run.phases} == {'skip'}


def test_operative_config_round_trips(tmp_path):
  loaded = config.load([QUICKSTART], ['Run.seed=7'])
  again = tmp_path / 'again.gin'
  again.write_text(loaded.operative)
  assert config.load([str(again)]).run == loaded.run


def with_attention(tmp_path, *bindings):
  path = tmp_path / 'attention.gin'
  lines = (
    'from __gin__ import dynamic_registration',
    'from tpu_lm.blocks import attention',
    'from tpu_lm.models import decoder',
    f"include '{QUICKSTART}'",
    'decoder.Decoder.attention = @attention.Attention()',
    *(f'attention.Attention.{binding}' for binding in bindings),
  )
  path.write_text('\n'.join(lines))
  return config.load([str(path)])


def test_masks_and_sinks_of_attention_dry_run(tmp_path):
  loaded = with_attention(
    tmp_path, 'windows = (64, 0)', 'initial_tokens = 4', "sinks = 'learned'"
  )
  attention = loaded.run.model.attention
  assert (attention.windows, attention.initial_tokens) == ((64, 0), 4)
  assert len(lay_out(loaded.run, tmp_path)) == len(loaded.run.phases)
  params = jax.eval_shape(loaded.run.model.init, jax.random.key(0))
  assert params['layers']['attention']['sinks'].shape == (4, 4)
  again = tmp_path / 'again.gin'
  again.write_text(loaded.operative)
  assert config.load([str(again)]).run == loaded.run


@pytest.mark.parametrize(
  ('bindings', 'message'),
  [
    (['initial_tokens = 4'], r'initial_tokens = 4: needs a window in'),
    (["sinks = 'learnt'"], r"sinks = 'learnt': .* Did you mean: learned\?"),
  ],
)
def test_mistakes_in_masks_and_sinks(tmp_path, bindings, message):
  with pytest.raises(UserError, match=message) as caught:
    with_attention(tmp_path, *bindings)
  assert '\n' not in str(caught.value)


def edited(tmp_path, old, new):
  text = pathlib.Path(QUICKSTART).read_text()
  assert old in text
  path = tmp_path / 'edited.gin'
  path.write_text(text.replace(old, new, 1))
  return str(path)


@pytest.mark.parametrize(
  ('old', 'new', 'message'),
  [
    (
      'phase.Evaluate.rows',
      'phase.Evaluate.rowz',
      r"edited\.gin:\d+: .*'rowz'.* Did you mean: rows\?",
    ),
    (
      '@adamw.AdamW()',
      '@adamw.AdmW()',
      r'edited\.gin:\d+: .*AdmW.* Did you mean: AdamW\?',
    ),
    (
      'import infinite',
      'import infinit',
      r'edited\.gin:\d+: .*infinit.* Did you mean: infinite\?',
    ),
    ('%BATCH', '%BATSH', r'edited\.gin:\d+: .*BATSH.* Did you mean: BATCH\?'),
    ('decoder_micro', 'decoder_mikro', r'edited\.gin:\d+: .*no such file'),
    ('= 300', "= 300 'x", r'edited\.gin:\d+: '),
    ('= 300', '= many', r'edited\.gin:\d+: .*many'),
    ('= 300', '= ' + '[' * 3000, r'edited\.gin: '),
    ('= 3e-3', '= -1', r'Cosine\.peak = -1: must be .*\(in cosine/prose'),
    (
      "name = 'prose_cosine'",
      'length = 300',
      r'missing 1 required keyword-only argument',
    ),
  ],
)
def test_mistakes_in_a_file(tmp_path, old, new, message):
  with pytest.raises(UserError, match=message) as caught:
    config.load([edited(tmp_path, old, new)])
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
  ('binding', 'message'),
  [
    ('Run.sead=1', r'--gin\.Run\.sead=1: .* Did you mean: seed'),
    ('Rum.seed=1', r"--gin\.Rum\.seed=1: .*'Rum'.* Did you mean: Run"),
    ('Run.seed', r'must be --gin\.NAME=VALUE'),
    ('Run.seed=-1', r'Run\.seed = -1: must be an int'),
    ('tosine/Phase.length=3', r'nothing uses it'),
    ('BATCHES=3', r'nothing uses it'),
    ('Run.seed=(1', r'--gin\.Run\.seed=\(1: EOF .*, up to line \d'),
    ('Run.model=@phase.Run()', r'a binding refers to itself'),
    ('Run.seed=%SEED', r'no value for the macro SEED'),
    (f'AdamW.eps=1{"0" * 400}', r'AdamW\.eps = 10.*must be a number'),
    ('BATCH=4.5', r'Phase\.batch_size = 4\.5: must be a positive int'),
  ],
)
def test_mistakes_on_the_command_line(binding, message):
  with pytest.raises(UserError, match=message) as caught:
    config.load([QUICKSTART], [binding])
  assert '\n' not in str(caught.value)


def test_a_percent_sign_in_a_string_is_no_macro():
  binding = "Run.name = '50%replay'"
  assert config.load([QUICKSTART], [binding]).run.name == '50%replay'


def test_a_file_that_is_not_utf8(tmp_path):
  (tmp_path / 'latin.gin').write_bytes('caf\u00e9'.encode('latin-1'))
  with pytest.raises(UserError, match=r'latin\.gin: not UTF-8'):
    config.load([str(tmp_path / 'latin.gin')])


def test_missing_file():
  with pytest.raises(UserError, match=r'nowhere\.gin: no such file'):
    config.load(['nowhere.gin'])


def test_unused_bindings_are_told(tmp_path):
  path = edited(tmp_path, 'SEQ_LEN = 128', 'SEQ_LEN = 128\nSTEPS = 4')
  assert config.load([path]).unused == ('STEPS',)
