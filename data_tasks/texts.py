"""Tasks from Python: functions that yield texts become seqio Tasks.

A text is a document: bytes as tokens, with an end token after the last.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import seqio
import tensorflow as tf

from tpu_lm.checks import UserError

SPLITS = ('train', 'validation')
VOCABULARY = seqio.ByteVocabulary(extra_ids=0)
FEATURES = {'targets': seqio.Feature(VOCABULARY)}
PREPROCESSORS = (seqio.preprocessors.tokenize, seqio.preprocessors.append_eos)


def text_source(
  texts: Callable[[str], Iterable[str]],
  source_files: Sequence[str],
  describe: Callable[[str], tuple[int, int]] | None = None,
) -> seqio.FunctionDataSource:
  """Makes a data source of a function.

  The dataset function carries what a store's builder asks for:
    source_files: the globs below, to see when the data have changed.
    describe: the function below, if there is one.
    error: the UserError that ended the texts, of which TensorFlow passes on
      the message only.

  Args:
    texts: split to the texts of its documents, the same ones on each call.
    source_files: globs of the files that the texts come from.
    describe: split to the numbers of files and bytes, to tell who builds it.

  Returns:
    A source of examples {'targets': text}, with splits train and validation.
  """

  def dataset(split: str, shuffle_files: bool) -> tf.data.Dataset:
    del shuffle_files  # the order is fixed

    def examples() -> Iterator[dict[str, str]]:
      try:
        for text in texts(split):
          yield {'targets': text}
      except UserError as error:
        dataset.error = error
        raise

    return tf.data.Dataset.from_generator(
      examples, output_signature={'targets': tf.TensorSpec((), tf.string)}
    )

  dataset.source_files = list(source_files)
  dataset.error = None
  if describe is not None:
    dataset.describe = describe
  return seqio.FunctionDataSource(dataset, splits=SPLITS)
