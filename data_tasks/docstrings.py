"""Python sources taken apart: docstrings here, the rest there."""

import ast
import inspect
import warnings
from collections.abc import Iterator


def docstrings(source: str) -> str:
  """The docstrings of a module, its classes and functions, in their order.

  Args:
    source: of a Python file.

  Returns:
    The docstrings, dedented, with an empty line after each but the last.

  Raises:
    SyntaxError: it is no Python of this version.
  """
  found = [
    inspect.cleandoc(body[0].value.value)
    for body in _bodies(_parse(source))
    if _leading_strings(body)
  ]
  return '\n\n'.join(text for text in found if text)


def without_docstrings(source: str) -> str:
  """A module without its docstrings; comments and layout stay.

  Args:
    source: of a Python file.

  Returns:
    Python that parses and has no docstrings.

  Raises:
    SyntaxError: it is no Python of this version.
  """
  # Columns of the syntax tree count bytes of UTF-8.
  lines = source.encode().split(b'\n')
  for body in reversed(list(_bodies(_parse(source)))):
    strings = _leading_strings(body)
    for string in reversed(strings):
      alone = len(strings) == len(body) and string is strings[0]
      _cut(lines, string, keep_statement=alone)
  return b'\n'.join(lines).decode()


def _parse(source: str) -> ast.Module:
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # other people's invalid escapes
    return ast.parse(source)


def _bodies(node: ast.AST) -> Iterator[list[ast.stmt]]:
  """Bodies that may begin with a docstring, in order of their first line."""
  if isinstance(
    node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
  ):
    yield node.body
  for name in ('body', 'handlers', 'orelse', 'finalbody', 'cases'):
    children = getattr(node, name, [])
    if isinstance(children, list):  # a lambda's body is an expression
      for child in children:
        yield from _bodies(child)


def _leading_strings(body: list[ast.stmt]) -> list[ast.Expr]:
  """The docstring, and strings after it that would take its place."""
  strings = []
  for statement in body:
    if not (
      isinstance(statement, ast.Expr)
      and isinstance(statement.value, ast.Constant)
      and isinstance(statement.value.value, str)
    ):
      break
    strings.append(statement)
  return strings


def _cut(lines: list[bytes], string: ast.Expr, keep_statement: bool) -> None:
  """Takes a statement out of `lines`; `pass` stays where one is needed."""
  first, last = string.lineno - 1, string.end_lineno - 1
  before = lines[first][: string.col_offset]
  after = lines[last][string.end_col_offset :]
  alone = not before.strip() and not after.strip()
  if alone and not keep_statement:
    lines[first : last + 1] = []
  else:
    lines[first : last + 1] = [before + b'pass' + after]
