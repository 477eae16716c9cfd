"""The vocabulary of shapes: dimension letters, axis names, batch keys.

Arrays in models carry their shape in their name: `query_BSHK` is an array of
[batch, sequence, heads, head_dim].

  B batch         S sequence (queries)   T sequence (keys)   V vocabulary
  D embed         F mlp                  H heads             N key/value heads
  G query heads of one key/value head    K head_dim          L layers
  E encoder's sequence; experts, where there are some
  A assignments of a token to an expert

Every parameter dimension has a logical axis name; `sharding.py` says which
mesh axis each is split over:

  layers, vocab, embed, mlp, heads, kv_heads, head_dim, positions, buckets,
  experts (matrices in a stack), routes (a router's outputs)

Activations use, besides these: batch, sequence.

A worked example. Two documents, "ab" and "cde", each closed by an end mark
(1), are packed into one row of five positions; the store holds
`a b 1 c d e 1` and the row is its first six tokens:

  inputs     a b 1 c d        what the model reads
  targets    b 1 c d e        what it predicts
  weights    1 1 0 1 1        the end mark must not predict the next document
  segments   1 1 1 2 2        attention stays inside a segment; 0 is padding
  positions  0 1 2 0 1        restart with each document

Other models than decoders read more: `data/layout.py` has examples.
"""

import dataclasses

LAYERS = 'layers'
VOCAB = 'vocab'
EMBED = 'embed'
MLP = 'mlp'
HEADS = 'heads'
KV_HEADS = 'kv_heads'
HEAD_DIM = 'head_dim'
POSITIONS = 'positions'
BUCKETS = 'buckets'
EXPERTS = 'experts'
ROUTES = 'routes'
BATCH = 'batch'
SEQUENCE = 'sequence'


@dataclasses.dataclass(frozen=True)
class Key:
  """One entry of a batch: its dtype, logical axes and meaning."""

  dtype: str
  axes: tuple[str, ...]
  meaning: str


ROW = (BATCH, SEQUENCE)
BATCH_KEYS = {
  'inputs': Key('int32', ROW, 'tokens the model reads'),
  'targets': Key('int32', ROW, 'tokens it predicts'),
  'weights': Key('float32', ROW, 'loss weight of each target'),
  'segments': Key('int32', ROW, 'document in the row, from 1; 0 is padding'),
  'positions': Key('int32', ROW, 'position in the document, from 0'),
  'source': Key('int32', (BATCH,), 'index of the row in the series read'),
  'prefix': Key('int32', ROW, '1: seen by all of its document, also before'),
  'encoder_inputs': Key('int32', ROW, 'tokens the encoder reads'),
  'encoder_segments': Key('int32', ROW, 'document, as in segments'),
  'encoder_positions': Key('int32', ROW, 'position in it, from 0'),
}
