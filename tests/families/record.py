"""Records the logits of `transformers`: python -m tests.families.record.

Needs torch and transformers, which the project itself does not; the tests
read what is recorded and need neither.
"""

import importlib.util
import json
import pathlib
import sys

import numpy as np

from tests.families.cases import CASES

RECORDED = pathlib.Path(__file__).parent / 'recorded'


def main() -> int:
  """Writes NAME.json and NAME.npz of every case."""
  for needed in ('torch', 'transformers'):
    if importlib.util.find_spec(needed) is None:
      print(f'needs {needed}: pip install torch transformers', file=sys.stderr)
      return 2
  from tests.families.reference import reference

  for name, case in CASES.items():
    about, arrays = reference(name, case)
    (RECORDED / f'{name}.json').write_text(_text(about), encoding='utf-8')
    np.savez_compressed(RECORDED / f'{name}.npz', **arrays)
    spread = arrays['logits'][arrays['mask'] == 1].std()
    print(f'{name:20} logits {spread:6.2f} deviation')
  return 0


def _text(about: dict) -> str:
  """JSON with one line for each key of the config and each tensor."""
  parts = [
    f'"{part}": {{\n  '
    + ',\n  '.join(f'"{key}": {json.dumps(of[key])}' for key in sorted(of))
    + '\n }'
    for part, of in about.items()
  ]
  return '{\n ' + ',\n '.join(parts) + '\n}\n'


if __name__ == '__main__':
  sys.exit(main())
