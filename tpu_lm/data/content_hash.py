"""A hash of documents that does not depend on how they are cut into shards.

With digests d_i of documents, the hash of n of them is the sum of
d_i * BASE**(n - 1 - i) modulo a prime. So the hash of a store follows from
those of its pieces, which many processes may have written.
"""

import hashlib
import json
from typing import Any

_PRIME = 2**127 - 1
_BASE = 0x5BD1E9955BD1E9955BD1E9955BD1E995


def digest(document: bytes) -> int:
  """The hash of one document: of its tokens as stored, and loss flags."""
  return int.from_bytes(hashlib.blake2b(document, digest_size=16).digest())


def chain(before: int, hashed: int, documents: int) -> int:
  """The hash of documents that follow others.

  Args:
    before: hash of the others; 0 if there are none.
    hashed: hash of the documents; of one its `digest`.
    documents: how many they are.
  """
  return (before * pow(_BASE, documents, _PRIME) + hashed) % _PRIME


def fingerprint(content: int, *facts: Any) -> str:
  """Names a store's content: 32 hexadecimal digits.

  Args:
    content: hash of all documents.
    facts: what else makes a store another one, such as its vocabulary.
  """
  text = json.dumps([f'{content:032x}', *facts])
  return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
