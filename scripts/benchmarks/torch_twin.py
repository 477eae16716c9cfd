"""The same decoder and train step in PyTorch, for a comparison of speed.

It is written as a person would write it for PyTorch on a CPU: one product for
queries, keys and values, one for gate and up, `scaled_dot_product_attention`,
rotary tables made once, AdamW's fused kernel.
"""

import dataclasses
import math
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tpu_lm.blocks.heads import Separate, Tied
from tpu_lm.checks import UserError, require
from tpu_lm.models.decoder import Decoder
from tpu_lm.objectives.cross_entropy import CrossEntropy
from tpu_lm.optimizers.adamw import AdamW
from tpu_lm.phase import Phase, Run

IGNORED = -100  # a target without a loss


class Batch(NamedTuple):
  """A batch as the twin reads it.

  Attributes:
    inputs_BS: i64.
    targets_BS: i64; IGNORED where there is no loss.
    segments_BS: i64; None where each row is one document.
    positions_BS: i64; None likewise.
  """

  inputs_BS: torch.Tensor
  targets_BS: torch.Tensor
  segments_BS: torch.Tensor | None
  positions_BS: torch.Tensor | None


def batch_of(batch: dict[str, np.ndarray]) -> Batch:
  """One of ours, of `shapes.BATCH_KEYS`."""
  targets = np.where(batch['weights'] > 0, batch['targets'], IGNORED)
  whole = np.all(batch['segments'] == 1)
  keys = () if whole else (batch['segments'], batch['positions'])
  arrays = batch['inputs'], targets, *keys
  tensors = [torch.from_numpy(array.astype(np.int64)) for array in arrays]
  return Batch(*tensors, *[None] * (4 - len(tensors)))


class Layer(nn.Module):
  """Attention and a gated feed-forward layer, each after a norm."""

  def __init__(self, model: Decoder):
    super().__init__()
    self.heads = model.heads, model.kv_heads, model.kv_heads
    self.head_dim, epsilon = model.head_dim, model.norm.epsilon
    width, read = model.heads * self.head_dim, sum(self.heads) * self.head_dim
    self.attention_norm = nn.RMSNorm(model.embed, epsilon)
    self.query_key_value = nn.Linear(model.embed, read, bias=False)
    self.out = nn.Linear(width, model.embed, bias=False)
    self.feed_forward_norm = nn.RMSNorm(model.embed, epsilon)
    self.gate_up = nn.Linear(model.embed, 2 * model.mlp, bias=False)
    self.down = nn.Linear(model.mlp, model.embed, bias=False)

  def forward(self, x_BSD, cos, sin, mask):
    """[B, S, D] -> [B, S, D]; without a mask each row is one document."""
    read = self.query_key_value(self.attention_norm(x_BSD))
    read_BHSK = read.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
    query, key, value = read_BHSK.split(self.heads, dim=1)
    out_BHSK = functional.scaled_dot_product_attention(
      turned(query, cos, sin),
      turned(key, cos, sin),
      value,
      attn_mask=mask,
      is_causal=mask is None,
      enable_gqa=query.shape != key.shape,
    )
    x_BSD = x_BSD + self.out(out_BHSK.transpose(1, 2).flatten(2))
    gate, up = self.gate_up(self.feed_forward_norm(x_BSD)).chunk(2, dim=-1)
    return x_BSD + self.down(functional.silu(gate) * up)


def turned(x_BHSK, cos, sin):
  """Rotary positions: channels i and i + K/2 turn; as `blocks/rotary.py`."""
  first, second = x_BHSK.chunk(2, dim=-1)
  pair = first * cos - second * sin, second * cos + first * sin
  return torch.cat(pair, dim=-1)


class Twin(nn.Module):
  """The mean cross-entropy of a batch under a decoder of our sizes."""

  def __init__(self, model: Decoder, length: int):
    super().__init__()
    self.decoder = model
    self.embedding = nn.Embedding(model.vocabulary, model.embed)
    self.layers = nn.ModuleList(Layer(model) for _ in range(model.layers))
    self.final_norm = nn.RMSNorm(model.embed, model.norm.epsilon)
    self.head = nn.Linear(model.embed, model.vocabulary, bias=False)
    if isinstance(model.head, Tied):
      self.head.weight = self.embedding.weight
    channels = torch.arange(0, model.head_dim, 2) / model.head_dim
    angles = torch.arange(length)[:, None] * model.positions.base**-channels
    self.register_buffer('cos_SK', angles.cos(), persistent=False)
    self.register_buffer('sin_SK', angles.sin(), persistent=False)

  def forward(self, batch: Batch) -> torch.Tensor:
    """f32[]."""
    cos, sin, mask = self.cos_SK, self.sin_SK, None
    segments = batch.segments_BS
    if segments is not None:
      cos = cos[batch.positions_BS][:, None]
      sin = sin[batch.positions_BS][:, None]
      mask = (segments[:, :, None] == segments[:, None, :]).tril()[:, None]
    x_BSD = self.embedding(batch.inputs_BS)
    for layer in self.layers:
      x_BSD = layer(x_BSD, cos, sin, mask)
    logits_BSV = self.head(self.final_norm(x_BSD))
    return functional.cross_entropy(
      logits_BSV.flatten(0, 1),
      batch.targets_BS.flatten(),
      ignore_index=IGNORED,
    )

  def views(self, of: Callable) -> dict[str, list[torch.Tensor]]:
    """Parameters, or what belongs to each, by our names and in our layout.

    Args:
      of: what is shown of a parameter: itself, its gradient, ...

    Returns:
      Views that share memory with it, one a layer; of what is outside the
      layers, one.
    """
    model, views = self.decoder, {}

    def show(name, tensor, *heads):
      shaped = tensor.T.unflatten(*heads) if heads else tensor.T
      views.setdefault(name, []).append(shaped)

    views['embedding/table'] = [of(self.embedding.weight)]
    if not isinstance(model.head, Tied):
      views['head/table'] = [of(self.head.weight)]
    views['final_norm/scale'] = [of(self.final_norm.weight)]
    for layer in self.layers:
      for norm in ('attention_norm', 'feed_forward_norm'):
        scale = of(getattr(layer, norm).weight)
        views.setdefault(f'layers/{norm}/scale', []).append(scale)
      read = of(layer.query_key_value.weight)
      parts = read.split([heads * model.head_dim for heads in layer.heads])
      for name, part in zip(('query', 'key', 'value'), parts, strict=True):
        show(f'layers/attention/{name}', part, 1, (-1, model.head_dim))
      heads = 0, (-1, model.head_dim)
      show('layers/attention/out', of(layer.out.weight), *heads)
      parts = of(layer.gate_up.weight).chunk(2)
      for name, part in zip(('gate', 'up'), parts, strict=True):
        show(f'layers/feed_forward/{name}', part)
      show('layers/feed_forward/down', of(layer.down.weight))
    return views


class TwinStep:
  """The twin's train step.

  Args:
    run: ours.
    compiled: whether `torch.compile` compiles the loss and its gradient.
    rate: learning rate of all steps; None: the phase's schedule.
    device: where it trains, PyTorch's name.

  Raises:
    UserError: the run is of a kind that the twin is not.
  """

  def __init__(
    self,
    run: Run,
    compiled: bool,
    rate: float | None = None,
    device: str = 'cpu',
  ):
    phase = run.phases[0]
    check_kind(run.model, phase)
    torch.set_num_threads(len(os.sched_getaffinity(0)))  # as many as XLA
    self.model = Twin(run.model, phase.sequence_length).to(device)
    self.device, self.low = torch.device(device), run.model.dtype == 'bfloat16'
    self.loss = torch.compile(self.model) if compiled else self.model
    self.parameters = list(self.model.parameters())
    ours = phase.optimizer
    norms = [p for p in self.parameters if p.ndim == 1]
    matrices = [p for p in self.parameters if p.ndim > 1]
    self.optimizer = torch.optim.AdamW(
      [{'params': matrices}, {'params': norms, 'weight_decay': 0.0}],
      betas=(ours.b1, ours.b2),
      eps=ours.eps,
      weight_decay=ours.weight_decay,
      fused=True,
    )
    self.clip = math.inf if ours.clip is None else ours.clip
    self.rates = [rate] if rate is not None else rates_of(phase)
    self.steps = 0

  def __call__(self, batch: Batch) -> torch.Tensor:
    """Takes a step; the loss before it, f32[]."""
    loss = self.gradients(batch)
    self.update()
    return loss

  def gradients(self, batch: Batch) -> torch.Tensor:
    """Leaves gradients at the parameters; the loss, f32[]."""
    self.optimizer.zero_grad(set_to_none=True)
    with torch.autocast(self.device.type, torch.bfloat16, enabled=self.low):
      loss = self.loss(batch)
    loss.backward()
    return loss.detach()

  def update(self) -> torch.Tensor:
    """Clips the gradients, moves the parameters; the norm before, f32[]."""
    norm = nn.utils.clip_grad_norm_(self.parameters, self.clip)
    for group in self.optimizer.param_groups:
      group['lr'] = self.rates[min(self.steps, len(self.rates) - 1)]
    self.optimizer.step()
    self.steps += 1
    return norm


def rates_of(phase: Phase) -> list[float]:
  """The learning rate of each step, worked out before the steps are timed."""
  import jax

  return jax.vmap(phase.curve(None))(np.arange(phase.steps)).tolist()


def check_kind(model, phase: Phase) -> None:
  """UserError unless the twin is what a run trains."""
  sizes = 'vocabulary layers embed heads kv_heads head_dim mlp'
  _check_like(Decoder, model, f'{sizes} head remat unroll dtype')
  good = model.head in (Tied(), Separate())
  require(good, 'Decoder.head', model.head, 'the twin has none like it')
  _check_like(AdamW, phase.optimizer, 'clip weight_decay b1 b2 eps')
  _check_like(CrossEntropy, phase.objective, 'vocabulary_chunks')
  good = not phase.methods
  require(good, 'Phase.methods', phase.methods, 'the twin has none')


def _check_like(kind: type, value, free: str) -> None:
  """UserError unless all but some fields are as `kind` has them."""
  name = kind.__name__
  if type(value) is not kind:
    raise UserError(f'{value}: the PyTorch twin knows {name} only')
  plain = kind(**{key: getattr(value, key) for key in free.split()})
  for field in dataclasses.fields(kind):
    own, known = (getattr(of, field.name) for of in (value, plain))
    must = f'the PyTorch twin has {known!r}'
    require(own == known, f'{name}.{field.name}', own, must)
