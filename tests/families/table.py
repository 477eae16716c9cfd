"""Prints every case's largest error: python -m tests.families.table."""

from tests.families.parity import NAMES, largest_error, recorded


def main() -> None:
  """A table in Markdown; `theirs` is `transformers` in single precision."""
  print('| case | model_type | logits within | largest error | theirs |')
  print('|---|---|---|---|---|')
  for name in NAMES:
    config, _, arrays = recorded(name)
    size = abs(arrays['logits']).max()
    error = largest_error(name)
    print(
      f'| {name} | {config["model_type"]} | {size:.1f} | {error:.1e} '
      f'| {arrays["float32_error"]:.1e} |'
    )


if __name__ == '__main__':
  main()
