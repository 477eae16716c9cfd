"""Arguments that several commands take."""

import argparse
import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tpu_lm.checks import UserError

if TYPE_CHECKING:
  from tpu_lm.data.corpus import Corpus
  from tpu_lm.phase import Run

GIN_EPILOG = '--gin.NAME=VALUE overrides a binding of the gin files'


def add_gin(parser: argparse.ArgumentParser, required: bool) -> None:
  """Adds --gin_file."""
  parser.add_argument(
    '--gin_file',
    action='append',
    required=required,
    default=[],
    help='may be repeated',
  )


def add_corpus(parser: argparse.ArgumentParser) -> None:
  """Adds what names a corpus and the mixtures in it."""
  parser.add_argument(
    'mixture',
    nargs='*',
    help='names of files, tasks or mixtures; without any, all that the gin'
    ' files configure',
  )
  add_gin(parser, required=False)
  parser.add_argument(
    '--module',
    action='append',
    default=[],
    help='a Python module that registers seqio tasks, instead of gin files',
  )
  parser.add_argument('--store_dir', help='where token stores are kept')


def quiet() -> None:
  """Keeps what fills the terminal and tells nothing from it."""
  # TensorFlow, which seqio imports.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  # orbax's threads write the traceback of what they raise, which we tell.
  logging.getLogger('absl').addFilter(
    lambda line: '_SignalingThread' not in line.getMessage()
  )


def keep_programs() -> None:
  """Keeps compiled programs for the next start, beside other caches.

  JAX's own variables say otherwise: JAX_COMPILATION_CACHE_DIR, a folder
  (gs:// too), or JAX_ENABLE_COMPILATION_CACHE=false.
  """
  caches = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
  folder = os.path.join(os.path.expanduser(caches), 'tpu_lm', 'programs')
  os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', folder)


def read_corpus(
  options: argparse.Namespace, bindings: Sequence[str]
) -> tuple['Corpus', 'Run | None']:
  """The corpus that the arguments name, and the run if there is one.

  Raises:
    UserError: they name none, or two.
  """
  import dataclasses

  quiet()
  if bool(options.gin_file) == bool(options.module):
    raise UserError(
      'name the data either by --gin_file=F or by --module=M, as in'
      ' --module=data_tasks.installed_text'
    )
  if options.module:
    from tpu_lm.data.corpus import Corpus

    if bindings:
      raise UserError(f'--gin.{bindings[0]}: there is no --gin_file')
    corpus, run = Corpus(modules=tuple(options.module)), None
  else:
    from tpu_lm import config

    corpus, run = config.load_corpus(options.gin_file, bindings)
  if options.store_dir:
    corpus = dataclasses.replace(corpus, store_dir=options.store_dir)
    run = run and dataclasses.replace(run, corpus=corpus)
  return corpus, run


def names_of(
  options: argparse.Namespace, corpus: 'Corpus', run: 'Run | None'
) -> list[str]:
  """The tasks that the named mixtures stand for; without names, all.

  Raises:
    UserError: there are none, or one is unknown.
  """
  names = options.mixture
  if not names and run is not None:
    from tpu_lm.prepare import sources_of

    found = [name for phase in run.phases for name in sources_of(run, phase)]
    return list(dict.fromkeys(found))
  names = names or [files.name for files in corpus.files]
  if not names:
    raise UserError('which data? Name a mixture or a task')
  return list(dict.fromkeys(t for name in names for t in corpus.expand(name)))
