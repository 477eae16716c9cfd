"""Every mesh gives what one device gives; on eight devices of the host."""

import json
import types

import numpy as np
import pytest
from jax.sharding import PartitionSpec

from tests import tiny
from tpu_lm.checks import UserError
from tpu_lm.feeding import check_rows
from tpu_lm.sharding import Mesh, partition_spec

CODE = """
import json, sys
import jax, jax.numpy as jnp
from tests import tiny
from tpu_lm.blocks.experts import Experts
from tpu_lm.blocks.quantized import Quantization
from tpu_lm.objectives.cross_entropy import CrossEntropy
from tpu_lm.optimizers.adamw import AdamW
from tpu_lm.sharding import Mesh, batch_shardings, state_shardings
from tpu_lm.state import init_state
from tpu_lm.step import make_train_step

kinds = {'quantization': Quantization, 'feed_forward': Experts}
model = tiny.decoder(**{
  field: kinds[field](**how) for field, how in json.loads(sys.argv[2]).items()
})
optimizer = AdamW().make(model.axes())
make = lambda: init_state(model, optimizer, (), jax.random.key(0))
shapes = jax.eval_shape(make)
for sizes in json.loads(sys.argv[1]):
  micro = sizes.pop('micro', 1)
  mesh = Mesh(**sizes).make()
  with jax.set_mesh(mesh):
    places = state_shardings(mesh, model.axes(), shapes.params, shapes)
    state = jax.jit(make, out_shardings=places)()
    step = jax.jit(
      make_train_step(model, CrossEntropy(), optimizer,
                      lambda s: jnp.float32(1e-2),
                      start_step=0, seed=0, sources=1,
                      micro_batches=micro),
      donate_argnums=0, out_shardings=(places, None))
    losses = []
    for index in range(4):
      batch = tiny.batch(rows=8, seed=index)
      batch = jax.device_put(batch, batch_shardings(mesh, batch))
      state, report = step(state, batch)
      loss = report['metrics']['loss']
      losses.append(float(loss.total.sum() / loss.weight.sum()))
    query = state.params['layers']['attention']['query']
    up = state.params['layers']['feed_forward']['up']
    metrics = report['metrics']
    moment = jax.tree.leaves(state.optimizer)
    print(json.dumps({
      'losses': losses,
      'spec': str(query.sharding.spec),
      'shard': query.addressable_shards[0].data.size,
      'split': sum(not m.sharding.is_fully_replicated for m in moment),
      'up': up.addressable_shards[0].data.size,
      'metrics': {
        name: float(metrics[name].total.sum() / metrics[name].weight.sum())
        for name in metrics
      },
    }))
"""
MESHES = [
  {'data': 8},
  {'data': 1, 'fsdp': 8},
  {'data': 4, 'tensor': 2},
  {'data': 2, 'fsdp': 2, 'tensor': 2},
  {'data': 1, 'fsdp': 2, 'tensor': 4},
  {'data': 1, 'sequence': 8},
  {'data': 2, 'sequence': 4},
  {'data': 1, 'fsdp': 2, 'tensor': 2, 'sequence': 2},
]


def train_on(devices, meshes, **fields):
  lines = tiny.on_devices(
    CODE, json.dumps(meshes), json.dumps(fields), devices=devices
  )
  return [json.loads(line) for line in lines]


def test_meshes_agree_with_one_device():
  [alone] = train_on(1, [{'data': 1}])
  for mesh, result in zip(MESHES, train_on(8, MESHES), strict=True):
    np.testing.assert_allclose(
      result['losses'], alone['losses'], atol=1e-5, err_msg=str(mesh)
    )
    split = mesh.get('fsdp', 1) * min(mesh.get('tensor', 1), 4)
    assert result['shard'] == alone['shard'] // split, (mesh, result)
    # Moments are split as their parameters are (ZeRO).
    assert (result['split'] > 0) == (split > 1)


SLOW = pytest.mark.slow


@pytest.mark.parametrize('kind', ['int8', pytest.param('fp8', marks=SLOW)])
def test_meshes_agree_in_8_bits(kind):
  """As near as numbers that differ by rounding, and are rounded to 8 bits."""
  how = {'kind': kind, 'backward': 'all'}
  meshes = [MESHES[1], MESHES[3], MESHES[7]]
  [wide] = train_on(1, [{'data': 1}])
  [alone] = train_on(1, [{'data': 1}], quantization=how)
  assert np.max(np.abs(np.subtract(alone['losses'], wide['losses']))) > 1e-3
  results = train_on(8, meshes, quantization=how)
  for mesh, result in zip(meshes, results, strict=True):
    print(mesh, np.subtract(result['losses'], alone['losses']))
    np.testing.assert_allclose(
      result['losses'], alone['losses'], atol=2e-2, err_msg=str(mesh)
    )


EXPERT_MESHES = [
  {'data': 8},
  {'data': 4, 'expert': 2},
  {'data': 2, 'expert': 4},
  {'data': 1, 'expert': 8},  # does not divide the experts: each has all
  {'data': 2, 'fsdp': 2, 'expert': 2},
  {'data': 2, 'tensor': 2, 'expert': 2},
  {'data': 2, 'sequence': 2, 'expert': 2},
  {'data': 1, 'fsdp': 2, 'tensor': 2, 'expert': 2},
  {'data': 1, 'fsdp': 2, 'tensor': 2, 'sequence': 2},
]


@pytest.mark.parametrize('gated', [pytest.param(True, marks=SLOW), False])
def test_meshes_agree_with_experts(gated):
  """With losses of routing large enough to be seen."""
  experts = {'experts': 4, 'chosen': 2, 'balance': 1.0, 'z_loss': 0.1}
  fields = {'feed_forward': experts | {'gated': gated}}
  [alone] = train_on(1, [{'data': 1}], **fields)
  meshes = EXPERT_MESHES if gated else EXPERT_MESHES[4:6]
  results = train_on(8, meshes, **fields)
  for mesh, result in zip(meshes, results, strict=True):
    np.testing.assert_allclose(
      result['losses'], alone['losses'], atol=1e-5, err_msg=str(mesh)
    )
    for name, value in alone['metrics'].items():
      np.testing.assert_allclose(
        result['metrics'][name], value, rtol=1e-5, err_msg=f'{mesh} {name}'
      )
    split = mesh.get('fsdp', 1) * mesh.get('tensor', 1)
    split *= mesh.get('expert', 1) if mesh.get('expert') != 8 else 1
    assert result['up'] == alone['up'] // split, (mesh, result)


@pytest.mark.slow
def test_micro_batches_weigh_what_experts_tell_by_their_tokens():
  """On a mesh as on one device; the balance is that of smaller parts."""
  fields = {'feed_forward': {'experts': 4, 'chosen': 2, 'balance': 0.1}}
  [whole, alone] = train_on(1, [{'data': 1}, {'data': 1, 'micro': 2}], **fields)
  meshes = [{'data': 2, 'expert': 2, 'micro': 2}]
  [result] = train_on(4, meshes, **fields)
  np.testing.assert_allclose(result['losses'], alone['losses'], atol=1e-5)
  balances = [r['metrics']['balance'] for r in (whole, alone, result)]
  np.testing.assert_allclose(balances[1], balances[2], rtol=1e-5)
  assert 1e-3 < abs(balances[0] - balances[1]) < 0.2


class FakeMesh:
  """All that the rules look at."""

  shape = types.MappingProxyType(
    {'data': 2, 'fsdp': 4, 'tensor': 4, 'sequence': 5, 'expert': 2}
  )


@pytest.mark.parametrize(
  ('axes', 'shape', 'spec'),
  [
    (('embed', 'mlp'), (8, 16), ('fsdp', 'tensor')),
    (('layers', 'embed', 'heads', 'head_dim'), (3, 8, 4, 8),
     (None, 'fsdp', 'tensor', None)),
    (('embed', 'kv_heads', 'head_dim'), (8, 2, 8), ('fsdp', None, None)),
    (('vocab', 'embed'), (259, 8), (None, 'fsdp')),
    (('batch', 'sequence'), (8, 4), (('data', 'fsdp'), None)),
    (('batch', 'sequence'), (16, 4), (('data', 'fsdp', 'expert'), None)),
    (('batch', 'sequence'), (8, 10), (('data', 'fsdp'), 'sequence')),
    (('batch', 'embed'), (8, 8), (('data', 'fsdp'), None)),
    (('experts', 'embed', 'mlp'), (6, 8, 16), ('expert', 'fsdp', 'tensor')),
    (('experts', 'embed', 'mlp'), (5, 8, 16), (None, 'fsdp', 'tensor')),
  ],
)  # fmt: skip
def test_partition_spec(axes, shape, spec):
  assert partition_spec(axes, shape, FakeMesh) == PartitionSpec(*spec)


def test_mistakes():
  with pytest.raises(UserError, match=r'Mesh\.fsdp = 0'):
    Mesh(fsdp=0)
  with pytest.raises(UserError, match='only one axis'):
    Mesh(data=-1, fsdp=-1)
  with pytest.raises(UserError, match='does not cover'):
    Mesh(data=1, fsdp=3).make()
  with pytest.raises(
    UserError, match=r'Phase\.batch_size = 24.*multiple of 16'
  ):
    check_rows(FakeMesh, 24, 'Phase.batch_size')
