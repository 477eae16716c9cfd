"""Every key of a config is read, or it is known why it need not be."""

import pytest

from tests.families.parity import NAMES, recorded
from tpu_lm.families.load import FAMILIES
from tpu_lm.families.release import Release

# Keys that some family does not read.
HARMLESS = {
  'activation_dropout': 'training: ours is one rate, and not the release',
  'attention_dropout': 'training',
  'attention_probs_dropout_prob': 'training',
  'attn_pdrop': 'training',
  'bos_token_id': 'what tokens mean',
  'classifier_dropout': 'training',
  'decoder_layerdrop': 'training',
  'decoder_start_token_id': 'what tokens mean: the data shifts targets',
  'dense_act_fn': 'follows from feed_forward_proj',
  'dropout': 'training',
  'dropout_rate': 'training',
  'embd_pdrop': 'training',
  'encoder_layerdrop': 'training',
  'eos_token_id': 'what tokens mean',
  'forced_eos_token_id': 'generation',
  'hidden_dropout': 'training',
  'hidden_dropout_prob': 'training',
  'id2label': 'classification',
  'init_std': 'initial values',
  'initializer_factor': 'initial values',
  'initializer_range': 'initial values',
  'is_encoder_decoder': 'the family says so',
  'is_gated_act': 'follows from feed_forward_proj',
  'label2id': 'classification',
  'max_position_embeddings': 'of rotary positions: how long training was',
  'pad_token_id': 'what tokens mean',
  'pretraining_tp': 'how products are split',
  'reorder_and_upcast_attn': 'the order of the same arithmetic',
  'resid_pdrop': 'training',
  'summary_activation': 'classification',
  'summary_first_dropout': 'training',
  'summary_proj_to_labels': 'classification',
  'summary_type': 'classification',
  'summary_use_proj': 'classification',
  'transformers_version': 'who wrote the config',
  'type_vocab_size': 'the shape of a tensor whose first row is read',
  'use_cache': 'generation',
}


class Watched(dict):
  """A dict that knows which keys were asked for."""

  def __init__(self, values):
    super().__init__(values)
    self.seen = set()

  def get(self, key, default=None):
    self.seen.add(key)
    return super().get(key, default)

  def __getitem__(self, key):
    self.seen.add(key)
    return super().__getitem__(key)

  def __contains__(self, key):
    self.seen.add(key)
    return super().__contains__(key)


@pytest.fixture(scope='module')
def unread():
  """By family: keys of its configs that reading none of them asks for."""
  keys, seen = {}, {}
  for name in NAMES:
    config, tensors, _ = recorded(name)
    watched = Watched(config)
    family = config['model_type']
    FAMILIES[family].model(Release(watched, tensors))
    keys.setdefault(family, set()).update(config)
    seen.setdefault(family, set()).update(watched.seen)
  return {family: keys[family] - seen[family] for family in keys}


@pytest.mark.parametrize('family', sorted(FAMILIES))
def test_no_key_goes_unheard(unread, family):
  assert not unread[family] - HARMLESS.keys()


def test_no_reason_is_stale(unread):
  assert set(HARMLESS) <= set().union(*unread.values())
