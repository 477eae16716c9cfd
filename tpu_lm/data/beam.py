"""Building a token store as an Apache Beam pipeline, on many machines.

Each element is the number of a shard; a worker writes its piece by the same
function that builds on one machine, so the bytes are the same. docs/beam.md
says how to run it on Dataflow, Flink and Spark.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tpu_lm.checks import UserError
from tpu_lm.data.build import build
from tpu_lm.data.contamination import Contamination
from tpu_lm.data.job import Job
from tpu_lm.data.progress import say
from tpu_lm.data.recipe import Recipe
from tpu_lm.data.storage import open_folder
from tpu_lm.data.store import TokenStore

_MISTAKE = 'mistake-'


def build_store_with_beam(
  recipe: Recipe,
  folder: str | Path,
  options: Sequence[str],
  contamination: Contamination | None = None,
) -> TokenStore:
  """Builds the store of a recipe by a Beam pipeline, and waits for it.

  Shards that are done already, by whichever builder, are not done again.

  Args:
    recipe: as of `build_store`.
    folder: where the stores of its task are, on storage that all workers
      share, such as gs://bucket/stores/TASK.
    options: of Beam and its runner, such as
      ['--runner=DataflowRunner', '--project=p', '--region=r',
      '--temp_location=gs://bucket/temp']; none: Beam's own runner, here.
    contamination: evaluation sets to look for, or None.

  Returns:
    The store.

  Raises:
    UserError: as of `build_store`, Apache Beam is not installed, or refuses
      its options.
  """
  _import_beam()
  write = functools.partial(_run_pipeline, options=list(options))
  return build(recipe, folder, contamination, write)


def _import_beam() -> Any:
  try:
    import apache_beam
  except ImportError:
    raise UserError(
      "Apache Beam is not installed: pip install 'tpu-lm[beam]'"
    ) from None
  return apache_beam


def _run_pipeline(
  job: Job, sizes: dict[int, int], done: int, options: list[str]
) -> None:
  beam = _import_beam()
  from apache_beam.options.pipeline_options import PipelineOptions

  folder = open_folder(job.url)
  folder.delete(list(folder.sizes(_MISTAKE)))
  say(f'{job.title}: a Beam pipeline writes {len(sizes):,} shards')
  try:
    pipeline = beam.Pipeline(options=PipelineOptions(options))
  except ValueError as error:  # it checks its options
    why = ' '.join(str(error).split())
    raise UserError(f'options of Beam: {why}') from error
  with pipeline:
    _ = (
      pipeline
      | 'Shards' >> beam.Create(list(sizes))
      | 'Spread' >> beam.Reshuffle()
      | 'Write' >> beam.Map(functools.partial(_write, job))
    )
  mistakes = list(folder.sizes(_MISTAKE))
  if mistakes:
    texts = [content.decode() for content in folder.read(mistakes)]
    folder.delete(mistakes)
    more = f' (and {len(texts) - 1} more shards)' if texts[1:] else ''
    raise UserError(texts[0] + more)


def _write(job: Job, shard: int) -> None:
  """Writes one piece; leaves a note where the user's data are at fault.

  A runner would try again what can't succeed, and then wrap the message into
  traces of its own. So mistakes come back through the store's folder.
  """
  try:
    job.write(shard)
  except UserError as error:
    folder = open_folder(job.url)
    folder.write(f'{_MISTAKE}{shard:05d}.txt', str(error).encode())
