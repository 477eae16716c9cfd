"""From stored tokens to a batch: targets, weights, segments, positions.

A causal row is S + 1 consecutive tokens of a store: the first S are read and
the last S predicted, so neighbouring rows share one token and no token of
theirs goes unpredicted but the first of each document.

A packed row holds whole documents. A document of n tokens takes n - 1 places,
for its last token is never read: what would follow is another document.
"""

from collections.abc import Sequence

import numpy as np


def causal(
  tokens: np.ndarray,
  starts: tuple[np.ndarray, np.ndarray],
  mask_documents: bool = True,
) -> dict[str, np.ndarray]:
  """Builds a batch for next-token prediction.

  For tokens `a b . c d e` (`.` ends a document, `c` at place 3 starts one):

      inputs     a b . c d     segments   1 1 1 2 2
      targets    b . c d e     positions  0 1 2 0 1
      weights    1 1 0 1 1     nothing tells `.` which document follows

  Args:
    tokens: int[B, S+1].
    starts: rows i64[k] and places i64[k] in `tokens` at which documents start,
      those at place 0 left out; row by row, places rising.
    mask_documents: whether documents are kept apart. When False a row is one
      segment, its positions run on and every weight is 1.

  Returns:
    inputs i32[B, S], targets i32[B, S], weights f32[B, S], segments i32[B, S]
    (from 1 in each row) and positions i32[B, S] (from 0 in each segment).
  """
  batch, length = tokens.shape[0], tokens.shape[1] - 1
  weights = np.ones((batch, length), np.float32)
  rows, places = starts if mask_documents else (np.zeros(0, np.int64),) * 2
  weights[rows, places - 1] = 0
  # Runs of one document each, end to end over all rows; a document that
  # starts at the last token is in no input.
  inner = places < length
  lead = np.arange(batch) * length
  begins = np.sort(np.concatenate([lead, (rows * length + places)[inner]]))
  sizes = np.diff(begins, append=batch * length)
  before = np.searchsorted(begins, lead)[begins // length]
  segments = 1 + np.arange(len(begins)) - before
  positions = np.arange(batch * length, dtype=np.int32)
  positions -= np.repeat(begins.astype(np.int32), sizes)
  return {
    'inputs': tokens[:, :-1].astype(np.int32),
    'targets': tokens[:, 1:].astype(np.int32),
    'weights': weights,
    'segments': np.repeat(segments.astype(np.int32), sizes).reshape(
      batch, length
    ),
    'positions': positions.reshape(batch, length),
  }


def packed(
  documents: Sequence[np.ndarray],
  losses: Sequence[np.ndarray] | None,
  rows: np.ndarray,
  batch: int,
  length: int,
  mask_documents: bool = True,
) -> dict[str, np.ndarray]:
  """Builds a batch of whole documents for next-token prediction.

  For the documents `a b c .` and `d e .` in one row of 7 places, when `b` and
  `d` carry no loss (the question of question and answer):

      inputs     a b c d e 0 0     segments   1 1 1 2 2 0 0
      targets    b c . e . 0 0     positions  0 1 2 0 1 0 0
      weights    0 1 1 1 1 0 0     of the token that is predicted

  Args:
    documents: int[n] each, at least two tokens.
    losses: bool[n] each, whether a token is predicted with loss; None: all.
    rows: i64[documents], the row of each, not falling; the documents of a row
      fit into it.
    batch: B, how many rows.
    length: S, places in a row.
    mask_documents: whether attention keeps documents apart. When False a row
      is one segment and its positions run on; no token is predicted across
      documents either way.

  Returns:
    inputs i32[B, S], targets i32[B, S], weights f32[B, S], segments i32[B, S]
    (from 1 in each row) and positions i32[B, S] (from 0 in each segment);
    padding is 0 in all of them.
  """
  sizes = np.array([len(tokens) - 1 for tokens in documents], np.int64)
  assert np.all(sizes >= 1), 'a document of one token has no place'
  held = np.bincount(rows, sizes, minlength=batch)
  assert np.all(held <= length), (held.max(), length)
  # Rows are filled from the left, so their places and the documents' tokens
  # are in the same order.
  used = np.arange(length) < held[:, None]
  flat = np.concatenate([*documents, np.zeros(0, np.int32)])
  last = np.zeros(len(flat), bool)
  last[np.cumsum(sizes + 1) - 1] = True
  first = np.roll(last, 1)
  starts = np.cumsum(sizes) - sizes
  lead = np.searchsorted(rows, rows)  # the first document of the same row
  if mask_documents:
    segments, origins = 1 + np.arange(len(rows)) - lead, starts
  else:
    segments, origins = np.ones(len(rows), np.int64), starts[lead]
  total = int(sizes.sum())
  values = {
    'inputs': flat[~last],
    'targets': flat[~first],
    'weights': np.ones(total, np.float32)
    if losses is None
    else np.concatenate([*losses, np.zeros(0, bool)])[~first],
    'segments': np.repeat(segments, sizes),
    'positions': np.arange(total) - np.repeat(origins, sizes),
  }
  result = {}
  for key, value in values.items():
    dtype = np.float32 if key == 'weights' else np.int32
    result[key] = np.zeros((batch, length), dtype)
    result[key][used] = value
  return result


def pad_rows(batch: dict[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
  """Appends rows of zeros (weight 0, segment 0) up to `rows` of them."""
  missing = rows - len(batch['inputs'])
  assert missing >= 0, (missing, rows)
  return {
    key: np.pad(value, [(0, missing)] + [(0, 0)] * (value.ndim - 1))
    for key, value in batch.items()
  }
