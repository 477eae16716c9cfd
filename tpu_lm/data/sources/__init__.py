"""Where records come from: files of many formats, here or on object storage.

`files.py` is what a person names; `listing.py` finds the files, `shards.py`
cuts them into pieces of work and `formats.py` knows the reader of each kind of
file. A reader is a module with two functions:

  split(path, size, target) -> list[tuple[Part, int]]
    Cuts a file of `size` bytes into parts of about `target` bytes, each with
    its size as stored; together they hold every record once, in order. A file
    that can only be read from its start is one part.
  read(part, fields, bad) -> Iterator[tuple[Place, dict[str, Any]]]
    Yields the records of a part in order, each with its place for messages. It
    calls `bad(place, why)` for a record that is broken and goes on behind it.
    A record has at least those of `fields` that it has in the file. Text among
    them can be encoded as UTF-8. Raises Damaged where no way leads on.

Readers do not import each other.
"""
