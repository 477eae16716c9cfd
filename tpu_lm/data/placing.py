"""From inputs and targets to the arrays that models read."""

from collections.abc import Mapping

import numpy as np

from tpu_lm.data.layout import PREFIX_DECODER, Layout
from tpu_lm.data.noise.base import Pairs, Ragged
from tpu_lm.data.special_tokens import Special


def place_pairs(
  pairs: Pairs, special: Special, layout: Layout
) -> dict[str, np.ndarray]:
  """Gives each pair a row of its own; see `Layout` for what it looks like.

  Args:
    pairs: n of them, without end marks; they fit.
    special: what opens and closes inputs and targets.
    layout: of a decoder, with or without an encoder.

  Returns:
    inputs, targets, segments, positions i32[n, S], weights f32[n, S]; for an
    encoder-decoder encoder_inputs, encoder_segments, encoder_positions i32[n,
    E]; for a prefix decoder prefix i32[n, S].
  """
  if layout.two_sided:
    return _two_sided(pairs, special, layout)
  count = len(pairs.inputs.lengths)
  tokens = np.zeros((count, layout.length + 1), np.int32)
  place = np.arange(layout.length + 1, dtype=np.int32)
  read = pairs.inputs.lengths.astype(np.int32)[:, None]
  end = read + pairs.targets.lengths.astype(np.int32)[:, None]
  assert np.all(end <= layout.length), (end.max(), layout.length)
  tokens[place < read] = pairs.inputs.tokens
  tokens[(place >= read) & (place < end)] = pairs.targets.tokens
  tokens[place == end] = special.end
  place = place[:-1]
  used = place < end
  batch = {
    'inputs': tokens[:, :-1] * used,
    'targets': tokens[:, 1:] * used,
    'weights': (used & (place >= read - 1)).astype(np.float32),
    'segments': used.astype(np.int32),
    'positions': place * used,
  }
  if layout.kind == PREFIX_DECODER:
    batch['prefix'] = (place < read).astype(np.int32)
  return batch


def _two_sided(
  pairs: Pairs, special: Special, layout: Layout
) -> dict[str, np.ndarray]:
  read, read_used = _closed(pairs.inputs, special.end, layout.length)
  targets, used = _closed(pairs.targets, special.end, layout.targets)
  inputs = np.empty_like(targets)
  inputs[:, 0] = special.start
  inputs[:, 1:] = targets[:, :-1]
  place = np.arange(layout.targets, dtype=np.int32)
  positions = place * used
  if pairs.positions is not None:
    # What a target is read from stands where the target does.
    inner = place < pairs.targets.lengths[:, None]
    positions[inner] = pairs.positions
    last = np.maximum(pairs.targets.lengths - 1, 0)[:, None]
    after = np.take_along_axis(positions, last, axis=1) + 1
    positions = np.where(
      place == pairs.targets.lengths[:, None], after, positions
    )
  return {
    'encoder_inputs': read,
    'encoder_segments': read_used.astype(np.int32),
    'encoder_positions': np.arange(layout.length, dtype=np.int32) * read_used,
    'inputs': inputs * used,
    'targets': targets,
    'weights': used.astype(np.float32),
    'segments': used.astype(np.int32),
    'positions': positions,
  }


def _closed(
  ragged: Ragged, end: int, length: int
) -> tuple[np.ndarray, np.ndarray]:
  """Rows closed by the end mark and padded: i32[n, length], and bool, used."""
  lengths = ragged.lengths[:, None]
  assert np.all(lengths < length), (lengths.max(), length)
  place = np.arange(length)
  rows = np.zeros((len(lengths), length), np.int32)
  rows[place < lengths] = ragged.tokens
  rows[place == lengths] = end
  return rows, place <= lengths


def place_texts(
  texts: Ragged, documents: np.ndarray, layout: Layout
) -> dict[str, np.ndarray]:
  """Lays texts out for next-token prediction, a row each.

  Args:
    texts: n of them, at least one token and at most `layout.length` + 1 each.
    documents: i32[sum of lengths], from 1 in each row, rising.
    layout: of a decoder.

  Returns:
    As `packing.causal`, padded.
  """
  lengths = texts.lengths[:, None]
  place = np.arange(layout.length + 1, dtype=np.int32)
  assert np.all(lengths <= layout.length + 1), (lengths.max(), layout.length)
  tokens = np.zeros((len(lengths), layout.length + 1), np.int32)
  segments = np.zeros_like(tokens)
  tokens[place < lengths] = texts.tokens
  segments[place < lengths] = documents if layout.mask_documents else 1
  place, used = place[:-1], place[:-1] < lengths - 1
  same = segments[:, 1:] == segments[:, :-1]
  first = np.ones_like(used)
  first[:, 1:] = ~same[:, :-1]
  begun = np.maximum.accumulate(np.where(first, place, 0), axis=1)
  batch = {
    'inputs': tokens[:, :-1] * used,
    'targets': tokens[:, 1:] * used,
    'weights': (used & same).astype(np.float32),
    'segments': segments[:, :-1] * used,
    'positions': (place - begun) * used,
  }
  if layout.kind == PREFIX_DECODER:
    batch['prefix'] = np.zeros_like(batch['inputs'])
  return batch


def read_before_loss(batch: Mapping[str, np.ndarray]) -> np.ndarray:
  """Which tokens come before the first with loss in their segment.

  Args:
    batch: weights and segments [n, S] of a row, the loss of what follows.

  Returns:
    i32[n, S]: 1 where neither this token nor one before it in the segment is
    predicted with loss; 0 in padding.
  """
  segments = batch['segments']
  lost = np.cumsum(batch['weights'] > 0, axis=1)
  lost = np.pad(lost, ((0, 0), (1, 0)))[:, :-1]  # by tokens up to this one
  first = np.ones(segments.shape, bool)
  first[:, 1:] = segments[:, 1:] != segments[:, :-1]
  # What was lost when the segment began; it never falls along a row.
  before = np.maximum.accumulate(np.where(first, lost, 0), axis=1)
  return ((lost == before) & (segments > 0)).astype(np.int32)
