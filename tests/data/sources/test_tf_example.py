"""The reader of tf.train.Example, TFRecord and ArrayRecord."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.sources import made
from tests.data.sources.made import field, varint
from tpu_lm.checks import UserError
from tpu_lm.data.document import BadRecord
from tpu_lm.data.sources.parsing import parse_serialized
from tpu_lm.data.sources.parts import Part
from tpu_lm.data.sources.tf_example import parse_example
from tpu_lm.data.sources.tfrecord import read

integers = st.lists(st.integers(-(2**63), 2**63 - 1))
floats = st.lists(st.floats(width=32, allow_nan=False))


def message(name, kind, values):
  """An Example of one feature; kind is 1 bytes, 2 float, 3 int64."""
  entry = field(1, name.encode()) + field(2, field(kind, values))
  return field(1, field(1, entry))


def unlisted(values):
  return values[0] if len(values) == 1 else values


@given(values=integers, packed=st.booleans())
def test_integers(values, packed):
  numbers = [varint(value % 2**64) for value in values]
  data = (
    field(1, b''.join(numbers))
    if packed
    else b''.join(b'\x08' + number for number in numbers)
  )
  parsed = parse_example(message('a', 3, data), ('a',))
  assert parsed == {'a': unlisted(values)}


@given(values=floats, packed=st.booleans())
def test_floats(values, packed):
  numbers = [struct.pack('<f', value) for value in values]
  data = (
    field(1, b''.join(numbers))
    if packed
    else b''.join(b'\x0d' + number for number in numbers)
  )
  parsed = parse_example(message('a', 2, data), ('a',))
  assert parsed == {'a': unlisted(values)}


@given(st.dictionaries(st.text(), st.lists(st.text(), min_size=1)))
def test_texts(features):
  data = made.example(**features)
  expected = {name: unlisted(values) for name, values in features.items()}
  assert parse_example(data, [*features]) == expected
  assert parse_example(data, ()) == dict.fromkeys(features)


@given(data=st.binary(max_size=60))
def test_any_bytes_are_parsed_or_refused(data):
  try:
    record = parse_serialized(data, ('text',))
  except BadRecord as error:
    assert str(error)  # told, whatever it is
  else:
    assert isinstance(record, dict)
    text = record.get('text')
    if isinstance(text, str):
      text.encode()  # what is handed on can be tokenised


def test_what_is_refused():
  good = made.example(text='x' * 300)
  for cut in (len(good) - 1, 200, 5):
    with pytest.raises(BadRecord, match=r'neither a tf\.train\.Example nor'):
      parse_example(good[:cut], ('text',))
  data = message('text', 1, field(1, b'\xff'))
  assert parse_example(data, ('other',)) == {'text': None}
  with pytest.raises(BadRecord, match="'text' is not UTF-8 at byte 0"):
    parse_example(data, ('text',))


def test_protobuf_writes_the_same(tmp_path):
  """The library itself, with the messages as tensorflow declares them."""
  from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
  )

  file = descriptor_pb2.FileDescriptorProto(name='e.proto', syntax='proto3')
  kinds = descriptor_pb2.FieldDescriptorProto
  for name, fields in {
    'Bytes': [('value', kinds.TYPE_BYTES, 3, '')],
    'Float': [('value', kinds.TYPE_FLOAT, 3, '')],
    'Int64': [('value', kinds.TYPE_INT64, 3, '')],
    'Feature': [
      ('bytes_list', kinds.TYPE_MESSAGE, 1, '.Bytes'),
      ('float_list', kinds.TYPE_MESSAGE, 1, '.Float'),
      ('int64_list', kinds.TYPE_MESSAGE, 1, '.Int64'),
    ],
    'Entry': [
      ('key', kinds.TYPE_STRING, 1, ''),
      ('value', kinds.TYPE_MESSAGE, 1, '.Feature'),
    ],
    'Features': [('feature', kinds.TYPE_MESSAGE, 3, '.Entry')],
    'Example': [('features', kinds.TYPE_MESSAGE, 1, '.Features')],
  }.items():
    made_type = file.message_type.add(name=name)
    for number, (key, kind, label, of) in enumerate(fields, start=1):
      made_type.field.add(
        name=key, number=number, type=kind, label=label, type_name=of or None
      )
  descriptors = descriptor_pool.DescriptorPool()
  descriptors.Add(file)
  example = message_factory.GetMessageClass(
    descriptors.FindMessageTypeByName('Example')
  )()
  for key, kind, values in [
    ('text', 'bytes_list', ['ä', b'b']),
    ('scores', 'float_list', [0.5, -1.0]),
    ('ids', 'int64_list', [-1, 2**62]),
  ]:
    entry = example.features.feature.add(key=key)
    values = [v.encode() if isinstance(v, str) else v for v in values]
    getattr(entry.value, kind).value.extend(values)
  assert parse_example(
    example.SerializeToString(), ('text', 'scores', 'ids')
  ) == {'text': ['ä', 'b'], 'scores': [0.5, -1.0], 'ids': [-1, 2**62]}


def test_checksums_of_tfrecord(tmp_path):
  records = [made.example(text=text) for text in ('one', 'two', 'three')]
  data = bytearray(made.tfrecord(records))
  second = len(made.tfrecord(records[:1]))
  path = tmp_path / 'a.tfrecord'
  told = []
  data[second + 20] ^= 1  # within the second record
  path.write_bytes(data)
  texts = [
    record['text']
    for _, record in read(
      Part(str(path)), ('text',), lambda *item: told.append(item)
    )
  ]
  assert texts == ['one', 'three']
  ((place, why),) = told
  assert f'{place}: {why}' == f'{path}, record 2: its checksum is wrong'
  data[second + 1] ^= 1  # within its length
  path.write_bytes(data)
  with pytest.raises(UserError, match=r'record 2: the checksum of its length'):
    made.read(made.files(path))
