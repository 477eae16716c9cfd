"""Builds token stores ahead of time.

  tpu-lm cache --gin_file=F                      all that the run of F reads
  tpu-lm cache prose --module=data_tasks.installed_text
  tpu-lm cache MIXTURE --gin_file=F --store_dir=gs://bucket/stores --beam -- \\
    --runner=DataflowRunner --project=P --region=R --temp_location=gs://...

A build that was stopped goes on with the same command: shards that are done
stay. What a store holds does not depend on how it was built. docs/beam.md says
how to build on Dataflow, Flink and Spark.
"""

import argparse
import functools
from collections.abc import Sequence

from tpu_lm.checks import UserError
from tpu_lm.commands.arguments import add_corpus, names_of, read_corpus

HELP = 'build token stores ahead of time'
SPLITS = ('train', 'validation')


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of `cache`."""
  add_corpus(parser)
  parser.add_argument(
    '--split',
    action='append',
    help=f'may be repeated (default: {" and ".join(SPLITS)})',
  )
  parser.add_argument(
    '--processes',
    type=int,
    help='on this machine (default: one a core, or one for a small corpus)',
  )
  parser.add_argument(
    '--beam',
    action='store_true',
    help='build with Apache Beam; its options come last, after --',
  )


def run(options: argparse.Namespace, bindings: Sequence[str]) -> int:
  """Builds what is missing, and prints where each store is."""
  if options.beam and options.processes is not None:
    raise UserError('--processes: with --beam its own options say how many')
  if options.passed_on and not options.beam:
    raise UserError(f'{options.passed_on[0]}: options after -- are for --beam')
  corpus, configured = read_corpus(options, bindings)
  names = names_of(options, corpus, configured)
  if options.beam:
    from tpu_lm.data.beam import build_store_with_beam as build

    build = functools.partial(build, options=options.passed_on)
  else:
    from tpu_lm.data.build import build_store as build

    build = functools.partial(build, processes=options.processes)
  for name in names:
    for split in options.split or SPLITS:
      store = corpus.open(name, split, build)
      print(
        f'{name}/{split}: {store.num_tokens:,} tokens in'
        f' {store.num_documents:,} documents, {store.directory}'
      )
  return 0
