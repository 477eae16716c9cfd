import dataclasses

import pytest

from tests import tiny
from tests.data.helpers import tiny_corpus
from tpu_lm.checks import UserError
from tpu_lm.data.mixing import Mixture
from tpu_lm.data.supply import Exhausted
from tpu_lm.prepare import prepare


def test_held_out_text_too_short_is_told_before_training(tmp_path):
  corpus = tiny_corpus(tmp_path, tiny.TEXTS, {'code': ['']})
  run = tiny.tree_run(tmp_path / 'unused', corpus=corpus)
  message = r'code \(validation\) has one token: nothing to predict'
  with pytest.raises(UserError, match=message):
    prepare(run, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_a_source_that_will_run_out_is_told_before_training(tmp_path):
  run = tiny.tree_run(tmp_path / 'stores')
  base = run.phases[0]
  short = Mixture(base.mixture.weights, max_epochs=0.01)
  phases = dataclasses.replace(base, mixture=short), *run.phases[1:]
  run = dataclasses.replace(run, phases=phases)
  with pytest.raises(Exhausted, match='used up at about step 1 of'):
    prepare(run, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()
