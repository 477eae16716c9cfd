"""What all models share: sizes, choices of blocks, and their checks."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from tpu_lm.blocks.attention import Attention
from tpu_lm.blocks.embeddings import Embedding, Input
from tpu_lm.blocks.experts import Experts
from tpu_lm.blocks.feed_forward import Auxiliary, FeedForward
from tpu_lm.blocks.heads import Tied
from tpu_lm.blocks.norms import RMS
from tpu_lm.blocks.positions import Rotary
from tpu_lm.blocks.quantized import Quantization
from tpu_lm.blocks.reading import Reading
from tpu_lm.blocks.residual import Pre
from tpu_lm.checks import check_counts, check_number, nearest, require
from tpu_lm.models.modules import graph_of
from tpu_lm.models.stack import REMAT_POLICIES
from tpu_lm.tree import Tree

DTYPES = ('float32', 'bfloat16')
# Each choice of a block, and a member that the blocks of its kind have.
CHOICES = {
  'norm': 'epsilon',
  'positions': 'angles',
  'attention': 'query_key_norm',
  'feed_forward': 'gated',
  'residual': 'run',
  'embedding': 'scaled',
  'head': 'read',
}


class Out(NamedTuple):
  """What a model gives an objective."""

  hidden_BSD: jax.Array  # after the last norm, in the model's dtype
  reading: Reading
  auxiliary: Auxiliary | None = None  # means over all layers; None: of none

  @property
  def logits_BSV(self) -> jax.Array:
    """All logits, float32; computed when asked for."""
    return self.reading.logits()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transformer:
  """Sizes and blocks; without any choice they are Llama's.

  Attributes:
    vocabulary: V, number of token ids.
    layers: L.
    embed: D, width of the residual stream.
    heads: H, query heads.
    kv_heads: N, key/value heads; divides `heads`.
    head_dim: K.
    mlp: F, width of the feed-forward layer, or of each of its experts.
    norm: of `blocks/norms.py`.
    positions: of `blocks/positions.py`.
    attention: of `blocks/attention.py`: biases, norms, windows, caps.
    feed_forward: of `blocks/feed_forward.py`: activation, gate, biases; or of
      `blocks/experts.py`.
    residual: of `blocks/residual.py`: where norms stand.
    embedding: of `blocks/embeddings.py`: scale and norm of token vectors.
    head: of `blocks/heads.py`: where logits come from.
    dropout: share of values dropped in training: of the embedded tokens, the
      attention weights, the feed-forward layer's hidden values and what every
      sublayer gives, as in T5 (which drops after the last norm, too).
    dtype: of activations and of weights in use, float32 or bfloat16; weights
      are kept, and norms, softmax and logits computed, in float32.
    quantization: of `blocks/quantized.py`: products with the layers' weights in
      8 bits; None: in `dtype`.
    remat: what is kept for the backward pass: none (everything is kept), dots
      (products with weights), offload (the same, in the host's memory), full
      (layer inputs only).
    unroll: layers to a turn of the scan; more compiles longer, and on CPU
      runs faster.
  """

  layout: ClassVar[str]

  vocabulary: int
  layers: int
  embed: int
  heads: int
  kv_heads: int
  head_dim: int
  mlp: int
  norm: Any = RMS()
  positions: Any = Rotary()
  attention: Any = Attention()
  feed_forward: Any = FeedForward()
  residual: Any = Pre()
  embedding: Any = Input()
  head: Any = Tied()
  dropout: float = 0.0
  dtype: str = 'bfloat16'
  quantization: Quantization | None = None
  remat: str = 'none'
  unroll: int = 1

  def __post_init__(self):
    name = type(self).__name__
    sizes = ('vocabulary', 'layers', 'embed', 'heads', 'kv_heads')
    check_counts(name, self, (*sizes, 'head_dim', 'mlp', 'unroll'))
    divides = self.heads % self.kv_heads == 0
    must = f'must divide heads = {self.heads}'
    require(divides, f'{name}.kv_heads', self.kv_heads, must)
    for choice, member in CHOICES.items():
      value = getattr(self, choice)
      good = hasattr(value, member) and not isinstance(value, type)
      require(good, f'{name}.{choice}', value, 'must be of the blocks for it')
    even = self.head_dim % 2 == 0 or not isinstance(self.positions, Rotary)
    require(even, f'{name}.head_dim', self.head_dim, 'must be even')
    self.positions.check(self.head_dim)
    good = isinstance(self.quantization, Quantization | None)
    must = 'must be a quantized.Quantization, or None'
    require(good, f'{name}.quantization', self.quantization, must)
    experts = isinstance(self.feed_forward, Experts)
    good = self.quantization is None or not experts
    must = 'must be None beside Experts: their products are not in 8 bits'
    require(good, f'{name}.quantization', self.quantization, must)
    check_number(f'{name}.dropout', self.dropout, least=0, below=1)
    for field, known in (('dtype', DTYPES), ('remat', REMAT_POLICIES)):
      value = getattr(self, field)
      hint = f'is not known.{nearest(str(value), known)}'
      require(value in tuple(known), f'{name}.{field}', value, hint)

  def token_vectors(self, params: Tree) -> Embedding:
    """The token vectors, as a module."""
    return nnx.merge(graph_of(self._embedding), params['embedding'])

  def out(
    self,
    params: Tree,
    hidden_BSD: jax.Array,
    auxiliary: Auxiliary | None = None,
  ) -> Out:
    """What the last layer gives, ready for logits to be read.

    Args:
      params: as `init` gives them.
      hidden_BSD: of the last stack.
      auxiliary: what all layers tell the objective, f32[L] each.
    """
    head = None
    if self.head.has_parameters:
      head = nnx.merge(graph_of(self._head), params['head'])
    embedding = self.token_vectors(params)
    reading = self.head.read(head, embedding, hidden_BSD)
    return Out(hidden_BSD, reading, jax.tree.map(jnp.mean, auxiliary))

  def outer_parts(self) -> dict[str, Any]:
    """Constructors of the modules that belong to no stack, by name."""
    parts = {'embedding': self._embedding}
    if self.head.has_parameters:
      parts['head'] = self._head
    return parts

  def _embedding(self, rngs: nnx.Rngs) -> Embedding:
    return Embedding(self.vocabulary, self.embed, rngs)

  def _head(self, rngs: nnx.Rngs):
    return self.head.make(self.vocabulary, self.embed, rngs)
