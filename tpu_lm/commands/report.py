"""`tpu-lm report`: writes the page of a run again, and prints its table."""

import argparse
import pathlib
from collections.abc import Sequence

HELP = 'write the report of a run again, and print its table'


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of `report`."""
  parser.add_argument('run_dir', type=pathlib.Path)


def run(options: argparse.Namespace, bindings: Sequence[str]) -> int:
  """Writes the report of `options.run_dir`."""
  del bindings  # it takes no gin files
  import rich.console

  from tpu_lm import report

  page = report.write_report(options.run_dir)
  rich.console.Console().print(report.summary_table(options.run_dir))
  print(f'report: {page}')
  return 0
