"""Shows what a mixture holds and what a run will read of it.

tpu-lm data --gin_file=F                       all that the run of F reads
tpu-lm data prose --module=data_tasks.installed_text --rows=3
tpu-lm data --gin_file=F --contamination=piqa.jsonl:goal,sol1,sol2
    and how much of an evaluation set is in the training data: 13-grams of
    words, of a file with the fields that make up an item (without any:
    text), or of the sets that Corpus.contamination names
"""

import argparse
import pathlib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from tpu_lm.checks import UserError, nearest
from tpu_lm.commands.arguments import add_corpus, names_of, read_corpus

if TYPE_CHECKING:
  from tpu_lm.data.contamination import Contamination
  from tpu_lm.data.corpus import Corpus

HELP = 'show what a run will read'


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of `data`."""
  add_corpus(parser)
  parser.add_argument(
    '--run_dir',
    type=pathlib.Path,
    help='of the run, if it is partly trained: what was read already counts',
  )
  parser.add_argument(
    '--rows',
    type=int,
    default=2,
    help='packed rows to show of each source (default: %(default)s)',
  )
  parser.add_argument(
    '--sequence_length',
    type=int,
    default=256,
    help='of those rows, where no phase says (default: %(default)s)',
  )
  parser.add_argument(
    '--contamination',
    action='append',
    metavar='EVAL',
    help='FILE[:FIELD,...] (a folder or URL, too), or the name of a set of'
    ' Corpus.contamination; may be repeated',
  )
  parser.add_argument(
    '--output', type=pathlib.Path, help='an HTML page to write it to, as well'
  )


def run(options: argparse.Namespace, bindings: Sequence[str]) -> int:
  """Surveys the mixture; builds the stores that are missing."""
  if options.rows < 0:
    raise UserError(f'--rows={options.rows}: must be at least 0')
  if options.sequence_length < 1:
    raise UserError(f'--sequence_length={options.sequence_length}: must be > 0')
  corpus, configured = read_corpus(options, bindings)
  names = names_of(options, corpus, configured)
  sets = _contamination(options.contamination, corpus)
  if sets:
    sets.counter()  # reads them: mistakes are told before stores are built
  from tpu_lm.survey import page

  def parts():
    stages = []
    if configured and not options.mixture:
      from tpu_lm.stages import lay_out

      folder = options.run_dir or pathlib.Path('no_such_folder')
      stages = lay_out(configured, folder)
    yield from page.survey(
      corpus,
      names,
      configured if stages else None,
      stages,
      options.sequence_length,
      options.rows,
    )
    if sets:
      yield from page.overlap(corpus, names, sets)

  page.show(parts(), options.output)
  if options.output:
    print(f'page: {options.output}')
  return 0


def _contamination(
  wanted: Sequence[str] | None, corpus: 'Corpus'
) -> 'Contamination | None':
  """The evaluation sets to look for: those named, else the corpus' own."""
  from tpu_lm.data.contamination import Contamination
  from tpu_lm.data.examples.template import Template
  from tpu_lm.data.sources.files import Files

  if not wanted:
    return corpus.contamination
  tracked = corpus.contamination.evals if corpus.contamination else ()
  known = {files.name: files for files in tracked}
  sets: dict[str, Files] = {}
  for name in wanted:
    scheme, url, rest = name.rpartition('://')
    path, _, fields = rest.partition(':')
    path = scheme + url + path
    if name in known:
      sets[name] = known[name]
    elif url or pathlib.Path(path).expanduser().exists():
      wanted_fields = fields.split(',') if fields else ['text']
      template = '\n'.join(f'{{{field}}}' for field in wanted_fields)
      label = _label(path, {*sets, *known})
      sets[label] = Files(name=label, path=path, example=Template(template))
    else:
      raise UserError(
        f'--contamination={name}: is neither a file nor a set of'
        f' Corpus.contamination.{nearest(name, known)}'
      )
  n = corpus.contamination.n if corpus.contamination else Contamination.n
  return Contamination(tuple(sets.values()), n)


def _label(path: str, taken: Collection[str]) -> str:
  """The name of a file as that of a set, with a number if there is such."""
  stem = pathlib.Path(path).name.split('.')[0]
  label = ''.join(c if c.isalnum() else '_' for c in stem)
  number = 1
  while (found := label + f'_{number}' * (number > 1)) in taken:
    number += 1
  return found
