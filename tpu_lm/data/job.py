"""What is given to the processes that write the pieces of a store."""

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tpu_lm.data.contamination import Contamination
from tpu_lm.data.document import Document
from tpu_lm.data.progress import SECONDS_BETWEEN_UPDATES
from tpu_lm.data.recipe import Recipe
from tpu_lm.data.storage import open_folder
from tpu_lm.data.writer import StoreHeader, write_piece


class Tally:
  """Counts documents on their way, and reports now and then."""

  def __init__(self, report: Callable[[int, int, int], None]):
    """Starts at nothing.

    Args:
      report: is given the documents, tokens and characters of text since the
        last report.
    """
    self._report = report
    self._documents = self._tokens = self._text = 0
    self._due = 0.0

  def watch(self, documents: Iterable[Document | None]) -> Iterator:
    """Passes documents through."""
    for document in documents:
      yield document
      if document is not None:
        self._documents += 1
        self._tokens += len(document.tokens)
        self._text += len(document.text)
      if time.monotonic() >= self._due:
        self.report()

  def report(self) -> None:
    """Reports what has not been reported yet."""
    self._report(self._documents, self._tokens, self._text)
    self._documents = self._tokens = self._text = 0
    self._due = time.monotonic() + SECONDS_BETWEEN_UPDATES


@dataclasses.dataclass(frozen=True)
class Job:
  """A store that is to be written; it can be pickled.

  Attributes:
    recipe: what the store is made of.
    url: where it is going to be.
    header: the recipe's, as it was when the build began.
    contamination: evaluation sets to look for, or None.
  """

  recipe: Recipe
  url: str
  header: StoreHeader
  contamination: Contamination | None = None

  @property
  def title(self) -> str:
    """What is built, for people."""
    return f'{self.header.task}/{self.header.split}'

  def write(self, shard: int, tally: Tally | None = None) -> dict[str, Any]:
    """Writes the piece of one shard and returns its record.

    Raises:
      UserError: see `write_piece`.
    """
    counts: Counter[str] = Counter()
    documents = self.recipe.documents(shard, counts)
    record = write_piece(
      open_folder(self.url),
      shard,
      self.header,
      documents if tally is None else tally.watch(documents),
      counts,
      self.contamination,
    )
    if tally is not None:
      tally.report()
    return record
