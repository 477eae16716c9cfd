"""From stored tokens to a batch: targets, weights, segments, positions.

A causal row is S + 1 consecutive tokens of a store: the first S are read and
the last S predicted, so neighbouring rows share one token and no token of a
store goes unpredicted but the first of each document.
"""

import numpy as np


def causal(
  tokens: np.ndarray, documents: np.ndarray, mask_documents: bool = True
) -> dict[str, np.ndarray]:
  """Builds a batch for next-token prediction.

  For tokens `a b . c d e` (`.` ends document 7, the rest is document 8):

      inputs     a b . c d     segments   1 1 1 2 2
      targets    b . c d e     positions  0 1 2 0 1
      weights    1 1 0 1 1     nothing tells `.` which document follows

  Args:
    tokens: int[B, S+1].
    documents: int[B, S+1], the number of the document of each token, rising
      along a row.
    mask_documents: whether documents are kept apart. When False a row is one
      segment, its positions run on and every weight is 1.

  Returns:
    inputs i32[B, S], targets i32[B, S], weights f32[B, S], segments i32[B, S]
    (from 1 in each row) and positions i32[B, S] (from 0 in each segment).
  """
  batch, length = tokens.shape[0], tokens.shape[1] - 1
  places = np.broadcast_to(np.arange(length, dtype=np.int32), (batch, length))
  if mask_documents:
    same = documents[:, 1:] == documents[:, :-1]
    starts = np.zeros((batch, length), bool)
    starts[:, 1:] = ~same[:, :-1]
    weights = same.astype(np.float32)
    segments = 1 + np.cumsum(starts, axis=1, dtype=np.int32)
    latest_start = np.maximum.accumulate(np.where(starts, places, 0), axis=1)
    positions = places - latest_start
  else:
    weights = np.ones((batch, length), np.float32)
    segments = np.ones((batch, length), np.int32)
    positions = places.copy()
  return {
    'inputs': tokens[:, :-1].astype(np.int32),
    'targets': tokens[:, 1:].astype(np.int32),
    'weights': weights,
    'segments': segments,
    'positions': positions,
  }


def pad_rows(batch: dict[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
  """Appends rows of zeros (weight 0, segment 0) up to `rows` of them."""
  missing = rows - len(batch['inputs'])
  assert missing >= 0, (missing, rows)
  return {
    key: np.pad(value, [(0, missing)] + [(0, 0)] * (value.ndim - 1))
    for key, value in batch.items()
  }
