"""Optimizer state in the host's memory: where it is, and that nothing else is
changed by it.
"""

import dataclasses

import jax
import pytest

from tests import tiny
from tpu_lm import loop
from tpu_lm.checks import UserError
from tpu_lm.interrupt import Interrupted
from tpu_lm.loop import train
from tpu_lm.optimizers.adamw import AdamW
from tpu_lm.optimizers.muon import Muon
from tpu_lm.optimizers.offload import HOST


def run_with(optimizer, folder):
  """A trunk, a branch, and a child; all with this optimizer."""
  run = tiny.tree_run(folder / 'stores', steps=8)
  # Adam's moments are re-warmed, which computes with what was saved.
  policy = 'rewarm_second_moment' if type(optimizer) is AdamW else 'keep'
  policies = 'keep', 'keep', policy
  phases = tuple(
    dataclasses.replace(phase, optimizer=optimizer, optimizer_state=policy)
    for phase, policy in zip(run.phases, policies, strict=True)
  )
  return dataclasses.replace(run, phases=phases)


def metrics(folder):
  return (folder / 'metrics.jsonl').read_bytes()


@pytest.fixture
def places(monkeypatch):
  """Filled with the memories of the optimizer's arrays after each step."""
  seen, step = [], loop._Training._step

  def look(training):
    step(training)
    leaves = jax.tree.leaves(training.state.optimizer)
    seen.append({leaf.sharding.memory_kind for leaf in leaves if leaf.ndim})
    params = jax.tree.leaves(training.state.params)
    assert {leaf.sharding.memory_kind for leaf in params} != {HOST}

  monkeypatch.setattr(loop._Training, '_step', look)
  return seen


@pytest.mark.parametrize(
  'kind', [AdamW, pytest.param(Muon, marks=pytest.mark.slow)]
)
def test_the_state_is_on_the_host_and_nothing_else_changes(
  kind, tmp_path, places
):
  for name, offload in (('here', None), ('there', True)):
    train(run_with(kind(offload=offload), tmp_path), tmp_path / name)
    assert all(seen == {HOST} for seen in places) == bool(offload)
    assert len(places) == 24
    places.clear()
  assert metrics(tmp_path / 'here') == metrics(tmp_path / 'there')


def test_a_run_goes_on_with_it(tmp_path, places):
  """Saved from the host's memory, and restored into it."""
  run = run_with(AdamW(offload=True), tmp_path)
  train(run, tmp_path / 'whole', 'the configuration')
  with pytest.raises(Interrupted):
    train(run, tmp_path / 'stopped', 'the configuration', stop_after=3)
  train(run, tmp_path / 'stopped', 'the configuration')
  assert all(seen == {HOST} for seen in places)
  assert metrics(tmp_path / 'stopped') == metrics(tmp_path / 'whole')


def test_it_must_be_a_bool():
  with pytest.raises(UserError, match=r'AdamW\.offload'):
    AdamW(offload='host')
