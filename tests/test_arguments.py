"""Every argument of every class that gin configures: wrong ones are told."""

import collections.abc
import dataclasses
import importlib
import inspect
import math
import pkgutil
import types
import typing
from typing import Any

import pytest

import tpu_lm
from tpu_lm.checks import UserError
from tpu_lm.data.corpus import Corpus
from tpu_lm.data.examples.text import Text
from tpu_lm.data.mixing import Mixture
from tpu_lm.data.noise.bart import TextInfilling
from tpu_lm.data.noise.mixed import Part
from tpu_lm.data.noise.prefix import Prefix
from tpu_lm.data.sources.files import Files
from tpu_lm.models.decoder import Decoder
from tpu_lm.phase import Phase
from tpu_lm.schedules.constant import Constant

# Rooms whose dataclasses hold results.
RESULTS = {'commands', 'compiled', 'forecast', 'report', 'survey'}
# What the program makes of what gin configures, and what classes share.
MADE = {
  'blocks.reading.Reading',
  'config.Config',
  'data.dependencies.Dependencies',
  'data.dependencies.Verdict',
  'data.document.Document',
  'data.histogram_packing.RowKind',
  'data.job.Job',
  'data.layout.Layout',
  'data.ledger.Ledger',
  'data.ledger.Skipped',
  'data.manifest.Manifest',
  'data.pool.Pool',
  'data.recipe.FilesRecipe',
  'data.replay.Pool',
  'data.seqio_recipe.SeqioRecipe',
  'data.sources.parts.Part',
  'data.sources.parts.Shard',
  'data.special_tokens.Special',
  'data.vocabularies.stretches.Stretches',
  'data.writer.StoreHeader',
  'entry.Ledgers',
  'lineage.Lineage',
  'lineage.Parent',
  'models.stack.Stack',
  'models.transformer.Transformer',
  'plan.Reading',
  'restore.Restored',
  'schedules.base.Curve',
  'schedules.base.Horizon',
  'schedules.base.Piece',
  'schedules.warmed.Warmed',
  'shapes.Key',
  'stages.Stage',
  'state.TrainState',
  'step_reports.BadStep',
}
SIZES = dict.fromkeys(
  ('vocabulary', 'layers', 'embed', 'heads', 'kv_heads', 'head_dim', 'mlp'), 8
)
PHASE = Phase(
  name='a',
  mixture=Mixture({'prose': 1.0}),
  schedule=Constant(1e-3),
  length=10,
  batch_size=4,
  sequence_length=8,
)
WARMED = {'peak': 1e-3}
# Enough to make one of each class; what is not here needs nothing.
VALID: dict[str, dict[str, Any]] = {
  'blocks.experts.Experts': {'experts': 4, 'chosen': 2},
  'blocks.positions.Learned': {'length': 8},
  'data.contamination.Contamination': {'evals': (Files('a', 'a.txt'),)},
  'data.examples.template.Template': {'template': '{text}'},
  'data.mixing.Mixture': {'weights': {'prose': 1.0}},
  'data.noise.bart.Bart': {'functions': (TextInfilling(),)},
  'data.noise.code_switch.CodeSwitch': {'lexicon': 'list.txt'},
  'data.noise.mixed.Mixed': {'parts': (Part(Prefix()),)},
  'data.noise.mixed.Part': {'noiser': Prefix()},
  'data.replay.Replay': {'fraction': 0.5},
  'data.sources.files.Files': {'name': 'a', 'path': 'a.txt'},
  'data.vocabularies.sentence_piece.SentencePiece': {'path': 'a.model'},
  'data.vocabularies.tokenizer_json.TokenizerJson': {'path': 'a.json'},
  'data.weights.FixedTokens': {'tokens': {'prose': 1e6}},
  'data.weights.Proportional': {'sources': ('prose',)},
  'data.weights.Temperature': {'sources': ('prose',), 'temperature': 2.0},
  'data.weights.UniMax': {'sources': ('prose',), 'max_epochs': 4.0},
  'evals.translation.Translation': {'source': 'prose'},
  'methods.freeze.Freeze': {'paths': ('embedding',)},
  'models.decoder.Decoder': SIZES,
  'models.encoder.Encoder': SIZES,
  'models.encoder_decoder.EncoderDecoder': SIZES | {'encoder_layers': 2},
  'models.prefix_decoder.PrefixDecoder': SIZES,
  'phase.Phase': {
    f.name: getattr(PHASE, f.name) for f in dataclasses.fields(PHASE)
  },
  'phase.Run': {
    'name': 'a',
    'model': Decoder(**SIZES),
    'phases': (PHASE,),
    'corpus': Corpus(),
  },
  'profiling.Profile': {'phase': 'a'},
  'schedules.base.Tokens': {'count': 10},
  'schedules.constant.Constant': {'rate': 1e-3},
  'schedules.cosine.Cosine': WARMED | {'end': 1e-5},
  'schedules.exponential.Exponential': {'end': 1e-5},
  'schedules.infinite.Infinite': WARMED | {'constant': 1e-4},
  'schedules.inverse_square_root.InverseSquareRoot': WARMED,
  'schedules.join.Join': {'parts': (Constant(1.0),) * 2, 'lengths': (1,)},
  'schedules.linear.Linear': WARMED,
  'schedules.power.Power': WARMED,
  'schedules.wsd.WSD': WARMED,
  'warm_start.WarmStart': {'take': {'encoder': ''}},
}
# Numbers that may be below 0: all others are counts, rates and the like.
NEGATIVE = {'Mesh', 'Power.exponent'}
VALUES = (
  'x',
  b'x',
  3,
  -1,
  1.5,
  -1.5,
  math.nan,
  math.inf,
  True,
  None,
  (3,),
  ('x', 3),
  (None,),
  [math.nan],
  {3: 3},
  {'x': 'x'},
  {'x': None},
  {'x': math.nan},
  object(),
  object,
  Constant,
  Constant(1e-3),
  Text(),
)
# What takes one of the last two, and has no type to say so.
TAKES = {Constant: {'Phase.schedule'}, Text: {'Files.example'}}


def configured() -> dict[str, type]:
  """Public dataclasses by name below the package: those that gin fills in."""
  found = {}
  for module in pkgutil.walk_packages(tpu_lm.__path__, 'tpu_lm.'):
    if module.name.split('.')[1] in RESULTS:
      continue
    for value in vars(importlib.import_module(module.name)).values():
      here = getattr(value, '__module__', '') == module.name
      if here and inspect.isclass(value) and dataclasses.is_dataclass(value):
        name = f'{module.name}.{value.__qualname__}'.removeprefix('tpu_lm.')
        public = not value.__name__.startswith('_')
        if public and not inspect.isabstract(value) and name not in MADE:
          found[name] = value
  return found


def fits(value: Any, hint: Any) -> bool:
  """Whether a value is of an annotated type, lists passing for tuples."""
  origin, inner = typing.get_origin(hint), typing.get_args(hint)
  if origin in (typing.Union, types.UnionType):
    return any(fits(value, one) for one in inner)
  if origin is typing.Literal:
    return value in inner
  if hint is float:
    return type(value) in (int, float) and math.isfinite(value)
  if hint in (int, str, bool):
    return type(value) is hint
  if hint in (None, type(None)):
    return value is None
  if origin in (tuple, collections.abc.Sequence):
    good = isinstance(value, tuple | list)
    return good and all(fits(item, inner[0]) for item in value)
  if origin is collections.abc.Mapping:
    good = isinstance(value, dict)
    return good and all(
      fits(item, kind)
      for pair in value.items()
      for item, kind in zip(pair, inner)
    )
  # Whatever such a field takes, VALUES has none of it.
  if hint is Any or getattr(hint, '_is_protocol', False):
    return False
  assert isinstance(hint, type), hint
  return isinstance(value, hint)


def negative(value: Any) -> bool:
  return type(value) in (int, float) and value < 0


CONFIGURED = configured()


def cases():
  for name, kind in CONFIGURED.items():
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
      yield pytest.param(
        name, field, hints[field.name], id=f'{name}.{field.name}'
      )


def test_one_of_each_can_be_made():
  assert CONFIGURED.keys() >= VALID.keys() and len(CONFIGURED) > 60
  for name, kind in CONFIGURED.items():
    kind(**VALID.get(name, {}))


@pytest.mark.parametrize(('name', 'field', 'hint'), [*cases()])
def test_wrong_values_are_refused(name, field, hint):
  kind = CONFIGURED[name]
  key = f'{kind.__name__}.{field.name}'
  valid = VALID.get(name, {})
  for value in VALUES:
    signed = key in NEGATIVE or kind.__name__ in NEGATIVE
    if fits(value, hint) and (signed or not negative(value)):
      continue
    if key in TAKES.get(type(value), ()):
      continue
    if hint is Any and value is None and field.default is None:
      continue
    with pytest.raises(UserError) as caught:
      kind(**{**valid, field.name: value})
      pytest.fail(f'{key} = {value!r} is accepted')
    text = str(caught.value)
    assert key in text and '\n' not in text, (value, text)
