"""What every model promises."""

import dataclasses
import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tpu_lm.blocks import positions
from tpu_lm.blocks.activations import dropout
from tpu_lm.blocks.attention import Attention
from tpu_lm.blocks.embeddings import Input
from tpu_lm.blocks.experts import Experts
from tpu_lm.blocks.feed_forward import FeedForward
from tpu_lm.blocks.heads import MaskedLM, Separate, Tied
from tpu_lm.blocks.norms import RMS, Layer
from tpu_lm.blocks.quantized import Quantization
from tpu_lm.blocks.residual import Output, Parallel, Post, Pre, Sandwich
from tpu_lm.checks import UserError
from tpu_lm.models.stack import REMAT_POLICIES
from tpu_lm.tree import is_axes, named_paths

PLAIN = {
  'feed_forward': FeedForward('gelu', gated=False, bias=True),
  'attention': Attention(bias=True, out_bias=True),
}
BERT = PLAIN | {
  'norm': Layer(1e-12),
  'positions': positions.Learned(32),
  'residual': Post(),
  'embedding': Input(norm=Layer()),
}
T5 = {
  'positions': positions.Relative(8, 16),
  'attention': Attention(scale=1.0),
  'feed_forward': FeedForward('gelu_tanh'),
}
EXPERTS = Experts(experts=8, chosen=2)
MODELS = {
  'decoder': tiny.decoder(),
  'decoder_untied': tiny.decoder(head=Separate(bias=True, softcap=30.0)),
  'decoder_query_key_norm': tiny.decoder(
    attention=Attention(query_key_norm='head')
  ),
  'decoder_olmo2': tiny.decoder(
    attention=Attention(query_key_norm='width'), residual=Output()
  ),
  'decoder_multi_query': tiny.decoder(kv_heads=1),
  'decoder_wide_heads': tiny.decoder(head_dim=16),
  'decoder_gpt2': tiny.decoder(
    **PLAIN, norm=Layer(), positions=BERT['positions']
  ),
  'decoder_neox': tiny.decoder(
    **PLAIN,
    norm=Layer(bias=False),
    positions=positions.Rotary(fraction=0.5),
    residual=Parallel(),
  ),
  'decoder_gpt_j': tiny.decoder(residual=Parallel(shared_norm=True)),
  'decoder_gemma2': tiny.decoder(
    norm=RMS(one_plus=True),
    residual=Sandwich(),
    attention=Attention(windows=(3, 0), softcap=50.0),
    embedding=Input(scale='sqrt'),
    head=Tied(softcap=30.0),
  ),
  'decoder_lambda': tiny.decoder(
    attention=Attention(windows=(3, 0), initial_tokens=2)
  ),
  'decoder_sinks': tiny.decoder(attention=Attention(sinks='learned')),
  'decoder_off_by_one': tiny.decoder(attention=Attention(sinks='zero')),
  'decoder_gpt_oss': tiny.decoder(
    attention=Attention(
      windows=(3, 0), sinks='learned', bias=True, out_bias=True
    )
  ),
  'decoder_alibi': tiny.decoder(
    positions=positions.Alibi(), feed_forward=FeedForward('relu', gated=False)
  ),
  'decoder_no_positions': tiny.decoder(positions=positions.NoPositions()),
  'decoder_sinusoidal': tiny.decoder(positions=positions.Sinusoidal()),
  'decoder_relative': tiny.decoder(**T5),
  'decoder_experts': tiny.decoder(feed_forward=EXPERTS),
  'decoder_mixtral': tiny.decoder(
    feed_forward=Experts(experts=4, chosen=2, normalised=True),
    residual=Parallel(),
  ),
  'decoder_int8': tiny.decoder(quantization=Quantization('int8', 'all')),
  'decoder_fp8': tiny.decoder(quantization=Quantization('fp8', 'all')),
  'prefix_decoder': tiny.prefix_decoder(),
  'prefix_decoder_lambda': tiny.prefix_decoder(
    attention=Attention(windows=(2,), initial_tokens=1, sinks='learned')
  ),
  'prefix_decoder_experts': tiny.prefix_decoder(feed_forward=EXPERTS),
  'prefix_decoder_relative': tiny.prefix_decoder(**T5, dropout=0.1),
  'encoder': tiny.encoder(),
  'encoder_bert': tiny.encoder(**BERT, head=MaskedLM(), dropout=0.1),
  'encoder_lambda': tiny.encoder(
    attention=Attention(windows=(3, 0), initial_tokens=2, sinks='learned')
  ),
  'encoder_experts': tiny.encoder(feed_forward=EXPERTS),
  'encoder_alibi': tiny.encoder(positions=positions.Alibi()),
  'encoder_decoder': tiny.encoder_decoder(),
  'encoder_decoder_t5': tiny.encoder_decoder(
    **T5, head=Tied(scale='rsqrt'), dropout=0.1
  ),
  'encoder_decoder_lambda': tiny.encoder_decoder(
    attention=Attention(windows=(3, 0), initial_tokens=2, sinks='learned')
  ),
  'encoder_decoder_experts': tiny.encoder_decoder(feed_forward=EXPERTS),
  'encoder_decoder_bart': tiny.encoder_decoder(**BERT, head=Tied(bias=True)),
  'encoder_decoder_sandwich': tiny.encoder_decoder(
    residual=Sandwich(), norm=Layer(), positions=positions.Sinusoidal()
  ),
}
# One of each kind, and those whose layers differ most.
COMPILED_TWICE = (
  'decoder',
  'decoder_gemma2',
  'decoder_lambda',
  'decoder_gpt_oss',
  'decoder_experts',
  'prefix_decoder_relative',
  'encoder_bert',
  'encoder_decoder_t5',
)
# Of those, under each remat policy.
COMPUTED_AGAIN = ('decoder_experts', 'encoder_decoder_t5')
CAUSAL = [n for n, m in MODELS.items() if m.layout != 'encoder']
TWO_SIDED = [n for n, m in MODELS.items() if m.layout == 'encoder_decoder']
BOTH_WAYS = [n for n, m in MODELS.items() if m.layout == 'encoder']


@pytest.fixture(params=MODELS)
def model(request):
  return MODELS[request.param]


@pytest.fixture(scope='module')
def made():
  """Parameters of every model, with biases that are not 0."""
  drawn = {}

  def make(model):
    if model not in drawn:
      params = jax.jit(model.init)(jax.random.key(0))
      leaves, tree = jax.tree.flatten(params)
      keys = jax.random.split(jax.random.key(1), len(leaves))
      noisy = [
        leaf + 0.1 * jax.random.normal(key, leaf.shape)
        for key, leaf in zip(keys, leaves, strict=True)
      ]
      drawn[model] = jax.tree.unflatten(tree, noisy)
    return drawn[model]

  return make


@functools.cache
def compiled(model):
  return jax.jit(lambda *args: model.apply(*args).logits_BSV)


def apply(model, params, batch, rng=None):
  return np.asarray(compiled(model)(params, batch, rng))


def changed(batch, key, places, value=7):
  new = batch[key].copy()
  new[:, places] = value
  return batch | {key: new}


def test_axes_name_every_dimension(model):
  params = jax.eval_shape(model.init, jax.random.key(0))
  axes = named_paths(model.axes(), is_axes)
  leaves = named_paths(params)
  assert list(axes) == list(leaves)
  for name, leaf in leaves.items():
    assert len(axes[name]) == leaf.ndim, name
    assert leaf.dtype == jnp.float32
    stacked = name.removeprefix('encoder/').removeprefix('decoder/')
    assert (axes[name][0] == 'layers') == stacked.startswith('layers/')


def test_parameters_are_nested_dicts(model, made):
  def check(node):
    if isinstance(node, dict):
      assert all(type(key) is str for key in node)
      list(map(check, node.values()))
    else:
      assert isinstance(node, jax.Array)

  check(made(model))


def test_starts_near_uniform(model):
  params = jax.jit(model.init)(jax.random.key(0))
  logits = apply(model, params, tiny.batch())
  assert logits.dtype == jnp.float32
  losses = -jax.nn.log_softmax(logits)
  assert abs(losses.mean() - np.log(259)) < 1.0


@pytest.mark.parametrize('name', CAUSAL)
def test_no_leak_from_the_future(name, made):
  model, batch = MODELS[name], tiny.batch()
  before = apply(model, made(model), batch)
  after = apply(model, made(model), changed(batch, 'inputs', 9))
  np.testing.assert_array_equal(before[:, :9], after[:, :9])
  assert not np.array_equal(before[:, 9:], after[:, 9:])


@pytest.mark.parametrize('name', BOTH_WAYS)
def test_an_encoder_sees_both_ways(name, made):
  model, batch = MODELS[name], tiny.batch()
  before = apply(model, made(model), batch)
  after = apply(model, made(model), changed(batch, 'inputs', 9))
  np.testing.assert_array_equal(before[:, :5], after[:, :5])
  assert np.all(np.any(before[:, 5:15] != after[:, 5:15], axis=-1))


def test_a_prefix_is_seen_by_all_of_its_document(made):
  model, batch = MODELS['prefix_decoder'], tiny.batch()
  before = apply(model, made(model), batch)
  after = apply(model, made(model), changed(batch, 'inputs', 6))
  np.testing.assert_array_equal(before[:, :5], after[:, :5])
  assert np.all(np.any(before[:, 5:15] != after[:, 5:15], axis=-1))
  none = batch | {'prefix': np.zeros_like(batch['prefix'])}
  np.testing.assert_array_equal(
    apply(model, made(model), none),
    apply(MODELS['decoder'], made(model), batch),
  )


@pytest.mark.parametrize('name', TWO_SIDED)
def test_the_encoder_knows_nothing_of_the_targets(name, made):
  model, batch = MODELS[name], tiny.batch()
  encode = jax.jit(model.encode)
  encoded = encode(made(model), batch)
  others = batch | {
    key: np.zeros_like(value)
    for key, value in batch.items()
    if not key.startswith('encoder_')
  }
  np.testing.assert_array_equal(encode(made(model), others), encoded)


@pytest.mark.parametrize('name', TWO_SIDED)
def test_a_decoder_sees_its_own_document_in_the_encoder(name, made):
  model, batch = MODELS[name], tiny.batch()
  before = apply(model, made(model), batch)
  after = apply(model, made(model), changed(batch, 'encoder_inputs', 12))
  np.testing.assert_array_equal(before[:, :5], after[:, :5])
  assert np.all(np.any(before[:, 5:15] != after[:, 5:15], axis=-1))


@pytest.mark.parametrize('name', TWO_SIDED)
def test_a_document_without_a_source_sees_no_others(name, made):
  model, batch = MODELS[name], tiny.batch()
  segments = batch['encoder_segments'].copy()
  segments[:, :7] = 3  # the first document's source is another's
  batch |= {'encoder_segments': segments}
  before = apply(model, made(model), batch)
  after = apply(model, made(model), changed(batch, 'encoder_inputs', 3))
  np.testing.assert_array_equal(before, after)


def test_no_leak_across_documents(model, made):
  batch = tiny.batch()
  before = apply(model, made(model), batch)
  other = changed(batch, 'inputs', slice(0, 5))  # the first document
  other = changed(other, 'encoder_inputs', slice(0, 7))
  after = apply(model, made(model), other)
  np.testing.assert_array_equal(before[:, 5:], after[:, 5:])
  assert not np.array_equal(before[:, :5], after[:, :5])


def test_padding_changes_nothing(model, made):
  batch = tiny.batch()
  before = apply(model, made(model), batch)
  other = changed(batch, 'inputs', -1)
  other = changed(other, 'encoder_inputs', slice(-2, None))
  after = apply(model, made(model), other)
  np.testing.assert_array_equal(before[:, :-1], after[:, :-1])


def test_a_packed_document_is_as_alone(model, made):
  packed = tiny.batch()
  alone = {
    key: value[:, 7:18] if key.startswith('encoder_') else value[:, 5:15]
    for key, value in packed.items()
    if value.ndim == 2
  }
  np.testing.assert_allclose(
    apply(model, made(model), packed)[:, 5:15],
    apply(model, made(model), alone),
    atol=1e-4,
  )


def test_row_order_changes_nothing(model, made):
  batch = tiny.batch()
  turned = {key: value[::-1] for key, value in batch.items()}
  np.testing.assert_allclose(
    apply(model, made(model), batch),
    apply(model, made(model), turned)[::-1],
    atol=2e-5,
  )


@pytest.mark.parametrize(
  ('name', 'remat'),
  [
    (name, remat)
    for name in COMPILED_TWICE
    for remat in REMAT_POLICIES
    if remat == 'none' or name in COMPUTED_AGAIN
  ],
)
def test_scan_remat_and_unroll_agree(name, made, remat):
  model = MODELS[name]
  rng = jax.random.key(3)  # the same is dropped, too

  def loss(model, params):
    logits = model.apply(params, tiny.batch(), rng).logits_BSV
    return jnp.mean(jax.nn.log_softmax(logits) ** 2)

  same = dataclasses.replace(model, remat=remat, unroll=2)
  want, want_grads = jax.jit(jax.value_and_grad(lambda p: loss(model, p)))(
    made(model)
  )
  got, got_grads = jax.jit(jax.value_and_grad(lambda p: loss(same, p)))(
    made(model)
  )
  np.testing.assert_allclose(got, want, rtol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-3),
    got_grads,
    want_grads,
  )


def test_layers_equal_an_unrolled_loop(model, made):
  """The scan does what applying its layers one after another does."""
  if model.attention.windows or model.layout == 'encoder_decoder':
    pytest.skip('its layers differ, or are in two stacks')
  params, one = made(model), dataclasses.replace(model, layers=1)
  halves = [
    jax.tree.map(lambda x, i=i: x[i : i + 1], params['layers'])
    for i in range(2)
  ]
  both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), *halves)
  np.testing.assert_array_equal(
    apply(model, {**params, 'layers': both}, tiny.batch()),
    apply(model, params, tiny.batch()),
  )
  first = apply(one, {**params, 'layers': halves[0]}, tiny.batch())
  assert not np.array_equal(first, apply(model, params, tiny.batch()))


def test_bfloat16_is_close(model, made):
  half = dataclasses.replace(model, dtype='bfloat16')
  params = jax.jit(model.init)(jax.random.key(0))
  got, want = (apply(m, params, tiny.batch()) for m in (half, model))
  if isinstance(model.feed_forward, Experts):
    # Of experts with nearly equal shares rounding may choose another.
    same = np.all(np.abs(got - want) < 0.25, axis=-1)
    assert np.mean(same) > 0.9
    got, want = got[same], want[same]
  # What lies between two numbers of 8 bits may be rounded to the other one.
  atol = 0.25 if model.quantization is None else 0.5
  np.testing.assert_allclose(got, want, atol=atol)


@pytest.mark.parametrize('name', COMPILED_TWICE)
def test_gradients_are_finite_where_all_is_padding(name, made):
  model = MODELS[name]
  batch = tiny.batch()
  for key in ('segments', 'encoder_segments'):
    batch[key] = batch[key].copy()
    batch[key][0] = 0
  batch['encoder_segments'][1] = 0  # nothing to look at

  def loss(params):
    logits = model.apply(params, batch).logits_BSV
    return jnp.sum(jax.nn.log_softmax(logits)[..., 5] * (batch['segments'] > 0))

  for gradient in jax.tree.leaves(jax.jit(jax.grad(loss))(made(model))):
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize('kind', [tiny.decoder, tiny.encoder_decoder])
def test_dropout_is_drawn_by_its_key(kind, made):
  model = kind(dropout=0.2)
  params, batch = made(model), tiny.batch()
  plain = apply(kind(), params, batch)
  np.testing.assert_array_equal(apply(model, params, batch), plain)
  one, other = (apply(model, params, batch, jax.random.key(i)) for i in (0, 1))
  again = apply(model, params, batch, jax.random.key(0))
  np.testing.assert_array_equal(one, again)
  assert np.abs(one - other).mean() > 0.1
  assert np.abs(one - plain).mean() > 0.1


def test_queries_begin_small_where_logits_are_not_scaled():
  params = [
    tiny.decoder(attention=Attention(scale=scale)).init(jax.random.key(0))
    for scale in (None, 1.0)
  ]
  first, second = (p['layers']['attention']['query'] for p in params)
  np.testing.assert_allclose(second, first * 8**-0.5, rtol=1e-6)


def test_dropout_keeps_means():
  values = dropout(jnp.full((200, 500), 3.0), 0.2, jax.random.key(0))
  np.testing.assert_allclose(np.mean(values), 3.0, rtol=0.01)
  np.testing.assert_allclose(np.mean(values == 0), 0.2, atol=0.01)


def test_a_window_is_as_long_as_it_says(made):
  model = tiny.decoder(layers=1, attention=Attention(windows=(3,)))
  params, batch = made(model), tiny.batch()
  before = apply(model, params, batch)
  after = apply(model, params, changed(batch, 'inputs', 6))
  np.testing.assert_array_equal(before[:, 9:], after[:, 9:])
  assert np.all(np.any(before[:, 6:9] != after[:, 6:9], axis=-1))
  both = tiny.encoder(layers=1, attention=Attention(windows=(3,)))
  before = apply(both, params, batch)
  after = apply(both, params, changed(batch, 'inputs', 9))
  same = np.all(before == after, axis=(0, 2))
  assert same.tolist() == [not 7 <= place <= 11 for place in range(16)]
  wide = tiny.decoder(layers=1, attention=Attention(windows=(16,)))
  unlimited = tiny.decoder(layers=1)
  np.testing.assert_array_equal(
    apply(wide, params, batch), apply(unlimited, params, batch)
  )


def test_initial_tokens_are_those_of_the_document(made):
  """Beyond the window a token sees the first two of its own document."""
  options = {'windows': (3,), 'initial_tokens': 2}
  model = tiny.decoder(layers=1, attention=Attention(**options))
  params, batch = made(model), tiny.batch()
  before = apply(model, params, batch)

  def seen_from(place):
    """Where logits change with one token; documents begin at 0 and 5."""
    after = apply(model, params, changed(batch, 'inputs', place))
    differ = np.any(before != after, axis=-1)
    assert np.all(differ == differ[0])
    return np.flatnonzero(differ[0]).tolist()

  assert seen_from(1) == [1, 2, 3, 4]
  assert seen_from(2) == [2, 3, 4]
  for place in (5, 6):
    assert seen_from(place) == list(range(place, 15))
  assert seen_from(8) == [8, 9, 10]
  many = tiny.decoder(
    layers=1, attention=Attention(windows=(3, 0), initial_tokens=16)
  )
  np.testing.assert_array_equal(
    apply(many, params, batch), apply(tiny.decoder(layers=1), params, batch)
  )


def test_sinks_take_weight(made):
  """0 as learned is 0 for good; a low one is none, a high one takes all."""
  learned = tiny.decoder(attention=Attention(sinks='learned'))
  drawn, batch = made(learned), tiny.batch()
  attention = drawn['layers']['attention']
  none = {name: leaf for name, leaf in attention.items() if name != 'sinks'}
  plain_params = drawn | {'layers': drawn['layers'] | {'attention': none}}
  fresh = learned.init(jax.random.key(0))['layers']['attention']['sinks']
  assert fresh.shape == (2, 4) and not np.any(fresh)

  def at(value):
    sinks = jnp.full_like(attention['sinks'], value)
    layers = drawn['layers'] | {'attention': attention | {'sinks': sinks}}
    return apply(learned, drawn | {'layers': layers}, batch)

  def close(one, other):
    np.testing.assert_allclose(one, other, atol=1e-5)

  plain = apply(tiny.decoder(), plain_params, batch)
  zero = tiny.decoder(attention=Attention(sinks='zero'))
  close(at(0.0), apply(zero, plain_params, batch))
  close(at(-60.0), plain)
  assert np.abs(at(0.0) - plain).max() > 1e-2
  blind = none | {'out': jnp.zeros_like(none['out'])}
  blind = drawn | {'layers': drawn['layers'] | {'attention': blind}}
  close(at(60.0), apply(tiny.decoder(), blind, batch))


def test_rows_longer_than_the_table_of_positions_are_told(made):
  model = tiny.decoder(positions=positions.Learned(8))
  with pytest.raises(UserError, match=r'Learned.length = 8: rows have 16'):
    apply(model, made(model), tiny.batch())


@pytest.mark.parametrize(
  ('field', 'value'),
  [
    ('layers', 0),
    ('heads', 3),
    ('head_dim', 7),
    ('embed', 32.0),
    ('dtype', 'float16'),
    ('remat', 'ful'),
    ('head', Tied),
    ('norm', 'rms'),
    ('residual', Layer()),
    ('dropout', 1.0),
  ],
)
def test_bad_values_are_told_with_their_key(field, value):
  with pytest.raises(UserError, match=f'Decoder.{field}|Decoder.kv_heads'):
    tiny.decoder(**{field: value})


@pytest.mark.parametrize(
  ('make', 'key'),
  [
    (lambda: positions.Rotary(base=-1.0), 'Rotary.base'),
    (lambda: positions.Rotary(fraction=1.5), 'Rotary.fraction'),
    (lambda: tiny.decoder(positions=positions.Rotary(fraction=0.2)), 'Rotary'),
    (lambda: positions.Learned(0), 'Learned.length'),
    (lambda: positions.Relative(6, 128), 'Relative.buckets'),
    (lambda: positions.Relative(32, 16), 'Relative.max_distance'),
    (lambda: Attention(query_key_norm=True), 'Attention.query_key_norm'),
    (lambda: Attention(windows=(-1,)), 'Attention.windows'),
    (lambda: Attention(windows=3), 'Attention.windows'),
    (
      lambda: Attention(windows=(3,), initial_tokens=0),
      'Attention.initial_tokens = 0: must be an int > 0',
    ),
    (
      lambda: Attention(windows=(3,), initial_tokens=True),
      'Attention.initial_tokens = True: must be',
    ),
    (
      lambda: Attention(windows=(0,), initial_tokens=4),
      'Attention.initial_tokens = 4: needs a window in Attention.windows',
    ),
    (
      lambda: Attention(sinks='learnt'),
      "Attention.sinks = 'learnt': is not known. Did you mean: learned",
    ),
    (lambda: Attention(sinks=True), 'Attention.sinks = True.*learned, zero'),
    (lambda: Attention(bias=1), 'Attention.bias'),
    (lambda: FeedForward('gelo'), 'FeedForward.activation.*gelu'),
    (lambda: Tied(scale='sqrt'), 'Tied.scale'),
    (lambda: Separate(softcap=0), 'Separate.softcap'),
    (lambda: MaskedLM(norm=None), 'MaskedLM.norm'),
    (lambda: Input(scale=0), 'Input.scale'),
    (lambda: RMS(epsilon=0), 'RMS.epsilon'),
    (lambda: Layer(bias=None), 'Layer.bias'),
    (lambda: Parallel(shared_norm='yes'), 'Parallel.shared_norm'),
    (lambda: tiny.encoder_decoder(encoder_layers=0), 'encoder_layers'),
  ],
)
def test_bad_blocks_are_told_with_their_key(make, key):
  with pytest.raises(UserError, match=key):
    make()


def test_blocks_are_what_the_papers_say():
  """Small cases worked out by hand."""
  np.testing.assert_allclose(positions._slopes(8), 2.0 ** -np.arange(1, 9))
  twelve = [2.0**-i for i in range(1, 9)] + [
    2 ** -(i / 2) for i in (1, 3, 5, 7)
  ]
  np.testing.assert_allclose(positions._slopes(12), twelve)
  bias = positions.Alibi().bias(None, 3, 1, both_ways=True)
  slope = 2.0**-8
  assert bias.tolist() == [
    [[0, -slope, -2 * slope], [-slope, 0, -slope], [-2 * slope, -slope, 0]]
  ]
  assert Pre().norms(('a', 'b')) == ('a_norm', 'b_norm')


def test_both_nnx_modes():
  """NNX's announced new defaults give the same axes and logits."""
  code = (
    'import jax; from tests import tiny; m = tiny.decoder();'
    'p = m.init(jax.random.key(0)); b = tiny.batch();'
    "print(m.axes()['layers']['attention']['query'],"
    ' float(m.apply(p, b).logits_BSV.sum()));'
    'm = tiny.encoder_decoder(); p = m.init(jax.random.key(0));'
    "print(m.axes()['encoder']['layers']['attention']['key'],"
    ' float(m.apply(p, b).logits_BSV.sum()))'
  )
  outputs = {
    subprocess.run(
      [sys.executable, '-c', code],
      env={**os.environ, 'NNX_GRAPH_MODE': mode, 'NNX_GRAPH_UPDATES': mode},
      capture_output=True,
      text=True,
      check=True,
    ).stdout
    for mode in ('true', 'false')
  }
  assert len(outputs) == 1
  output = outputs.pop()
  assert "('layers', 'embed', 'heads', 'head_dim')" in output
  assert "('layers', 'embed', 'kv_heads', 'head_dim')" in output
