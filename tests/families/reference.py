"""Logits of `transformers` in double precision; needs torch."""

import json

import numpy as np
import torch
import transformers

from tests.families.cases import LENGTH, TARGET_LENGTH, VOCABULARY, Case
from tests.families.weights import tokens, weight

ENCODERS = ('bert', 'roberta')
ENCODER_DECODERS = ('t5', 'mt5', 'bart')


def reference(name: str, case: Case) -> tuple[dict, dict[str, np.ndarray]]:
  """Builds a case's model on its deterministic weights and runs it.

  Args:
    name: seeds the tokens.
    case: the model.

  Returns:
    A dict of `config` (as `config.json` holds it) and `tensors` (shape by
    name), and a dict of arrays: inputs i32[2, S], mask i32[2, S] (1 where
    there is a token), for an encoder-decoder encoder_inputs and encoder_mask
    as well, logits f32[2, S, V], 0 under the mask, and float32_error, how far
    the logits of `transformers` in single precision are off, f32[].
  """
  config = transformers.AutoConfig.for_model(
    case.model_type, vocab_size=VOCABULARY, **case.changes
  )
  kind = 'CausalLM'
  if case.model_type in ENCODERS:
    kind = 'MaskedLM'
  elif case.model_type in ENCODER_DECODERS:
    kind = 'Seq2SeqLM'
  auto = getattr(transformers, f'AutoModelFor{kind}')
  model = auto.from_config(config, attn_implementation='eager')
  model = model.double().eval()  # norms and softmax stay single
  if case.separate_head:
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
  # Shared parameters are named once, as in a file of safetensors.
  own = dict(model.named_parameters())
  stored = model.state_dict()
  own |= {key: value for key, value in model.named_buffers() if key in stored}
  shapes = {key: tuple(value.shape) for key, value in own.items()}
  batch = inputs(name, kind == 'Seq2SeqLM', config.pad_token_id or 0)
  with torch.no_grad():
    for key, value in own.items():
      value.copy_(torch.from_numpy(weight(key, shapes[key])))
    logits = model(**_arguments(batch)).logits.numpy()
    single = model.float()(**_arguments(batch)).logits.numpy()
  seen = batch['mask'][..., None] == 1
  batch['logits'] = np.where(seen, logits, 0).astype(np.float32)
  error = np.abs(np.where(seen, single - logits, 0)).max()
  batch['float32_error'] = np.float32(error)
  about = {'config': json.loads(config.to_json_string()), 'tensors': shapes}
  return about, batch


def inputs(name: str, has_encoder: bool, padding: int) -> dict:
  """Two rows, the second of them shorter.

  The padding is shorter than the windows: in double precision `transformers`
  gives a query without a key NaN, which then spreads over its row.
  """

  def side(length, what):
    mask = np.ones((2, length), np.int32)
    mask[1, length - length // 4 :] = 0
    drawn = tokens(f'{name} {what}', VOCABULARY, mask.shape)
    return np.where(mask, drawn, padding).astype(np.int32), mask

  if not has_encoder:
    return dict(zip(('inputs', 'mask'), side(LENGTH, 'inputs')))
  keys = 'encoder_inputs', 'encoder_mask', 'inputs', 'mask'
  sides = *side(LENGTH, 'encoder'), *side(TARGET_LENGTH, 'inputs')
  return dict(zip(keys, sides))


def _arguments(batch: dict) -> dict:
  """The batch in the words of `transformers`."""
  names = {'inputs': 'input_ids', 'mask': 'attention_mask'}
  if 'encoder_inputs' in batch:
    names = {f'encoder_{key}': name for key, name in names.items()}
    names |= {'inputs': 'decoder_input_ids', 'mask': 'decoder_attention_mask'}
  return {
    name: torch.from_numpy(batch[key]).long() for key, name in names.items()
  }
