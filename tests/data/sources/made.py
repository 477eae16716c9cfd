"""Writes small files of every format, and reads them back."""

import collections
import csv
import gzip
import io
import json
import lzma
import struct
import uuid

import fsspec

from tpu_lm.data.sources.files import Files

# Line separators that are no line ends, an emoji, a tab, NUL, a BOM inside.
ODD = 'one\u2028two\u2029three\x0bfour\x85five \U0001f600\t\0\ufeff.'
TEXTS = [ODD, 'second', '', 'line\nend', 'Stra\u00dfe \u0633\u0644\u0627\u0645']


def json_lines(texts, **others):
  records = [{'text': text, **others} for text in texts]
  return ''.join(
    json.dumps(record, ensure_ascii=False) + '\n' for record in records
  ).encode()


def json_list(texts):
  return json.dumps([{'text': text} for text in texts], indent=1).encode()


def comma_separated(texts):
  out = io.StringIO()
  writer = csv.writer(out, lineterminator='\n')
  writer.writerows([['id', 'text'], *enumerate(texts)])
  return out.getvalue().encode()


def zstandard(data, **options):
  import zstandard as library

  return library.ZstdCompressor(**options).compress(data)


def table(texts):
  import pyarrow

  return pyarrow.table({'id': [*range(len(texts))], 'text': texts})


def parquet(texts, rows=2):
  import pyarrow.parquet

  out = io.BytesIO()
  pyarrow.parquet.write_table(table(texts), out, row_group_size=rows)
  return out.getvalue()


def arrow(texts, rows=2):
  import pyarrow

  out = io.BytesIO()
  data = table(texts)
  with pyarrow.ipc.new_stream(out, data.schema) as writer:
    writer.write_table(data, max_chunksize=rows)
  return out.getvalue()


def varint(number):
  data = b''
  while number > 0x7F:
    data += bytes([number & 0x7F | 0x80])
    number >>= 7
  return data + bytes([number])


def field(number, data):
  return varint(number << 3 | 2) + varint(len(data)) + data


def example(**features):
  """A tf.train.Example of texts (a str or several), as protobuf writes it."""
  entries = b''
  for name, values in features.items():
    values = [values] if isinstance(values, str) else values
    texts = b''.join(field(1, value.encode()) for value in values)
    entries += field(1, field(1, name.encode()) + field(2, field(1, texts)))
  return field(1, entries)


def tfrecord(records):
  import google_crc32c

  def mask(data):
    crc = google_crc32c.value(data)
    crc = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return struct.pack('<I', crc)

  lengths = [struct.pack('<Q', len(record)) for record in records]
  return b''.join(
    length + mask(length) + record + mask(record)
    for length, record in zip(lengths, records)
  )


def array_record(records, folder):
  from array_record.python.array_record_module import ArrayRecordWriter

  path = folder / uuid.uuid4().hex
  writer = ArrayRecordWriter(str(path), 'group_size:1')
  for record in records:
    writer.write(record)
  writer.close()
  data = path.read_bytes()
  path.unlink()
  return data


def every_format(folder):
  """Name of a file to its bytes; each holds TEXTS as records."""
  plain = json_lines(TEXTS)
  examples = [example(id='1', text=text) for text in TEXTS]
  half = len(json_lines(TEXTS[:2]))
  first, second = plain[:half], plain[half:]
  return {
    'a.jsonl': plain,
    'a.JSONL': plain,
    'a.json': plain,
    'a.jsonl.gz': gzip.compress(first) + gzip.compress(second),
    'a.jsonl.xz': lzma.compress(first) + lzma.compress(second),
    'a.jsonl.zst': zstandard(first) + zstandard(second),
    'a.json.gz': gzip.compress(json_list(TEXTS)),
    'list.json': json_list(TEXTS),
    'a.csv': comma_separated(TEXTS),
    'a.csv.gz': gzip.compress(comma_separated(TEXTS)),
    'a.parquet': parquet(TEXTS),
    'a.arrow': arrow(TEXTS),
    'a.tfrecord': tfrecord(examples),
    'a.tfrecord-00000-of-00001': tfrecord(examples),
    'json.tfrecord.gz': gzip.compress(tfrecord(plain.strip().split(b'\n'))),
    'a.array_record': array_record(examples, folder),
    'a.array_record-00000-of-00001': array_record(
      plain.strip().split(b'\n'), folder
    ),
  }


def files(path, **fields):
  """Files whose validation split is all of them too."""
  fields.setdefault('validation_path', str(path))
  return Files('books', str(path), **fields)


def read(source, split='train', counts=None):
  """The texts of a source, over all its shards."""
  counts = collections.Counter() if counts is None else counts
  return [
    record['text']
    for shard in source.shards(split)
    for _, record in source.records(split, shard, counts)
  ]


def remote(files):
  """Puts files into memory that fsspec reads by URL; returns their folder."""
  folder = f'memory://{uuid.uuid4().hex}'
  for name, data in files.items():
    with fsspec.open(f'{folder}/{name}', 'wb') as file:
      file.write(data)
  return folder
