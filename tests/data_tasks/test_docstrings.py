import ast
import inspect
import textwrap
import warnings
from pathlib import Path

import pytest

from data_tasks.docstrings import docstrings, without_docstrings

SOURCE = textwrap.dedent(
  '''
  #!/usr/bin/env python
  """Of the module.

    Indented, with an é and "quotes".
  """
  import os  # ünïcode

  class One:
    """Of a class."""
    # A comment that stays.
    field = """not a docstring"""
    """after an assignment: no docstring either"""

    def method(self):
      r"""Only this: \\d."""

    async def other(self): "On one line."

    def third(self):
      """Before a comment."""  # kept
      """A second string, which would take its place."""
      def inner():
        \'\'\'Of the inner one.\'\'\'; return lambda: 'no'
      return inner

  if os.name:
    try:
      def hidden(): """Hidden in a branch."""
    except OSError:
      class Deep:
        """Deep."""
  '''
)


def has_docstrings(source):
  return any(
    ast.get_docstring(node) is not None
    for node in ast.walk(ast.parse(source))
    if isinstance(
      node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    )
  )


def shape(source):
  """The tree without leading strings and `pass`."""
  tree = ast.parse(source)
  for node in ast.walk(tree):
    body = getattr(node, 'body', None)
    if isinstance(body, list):
      node.body = [
        s
        for s in body
        if not isinstance(s, ast.Pass)
        and not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))
      ]
  return ast.dump(tree)


def test_docstrings_in_their_order():
  found = docstrings(SOURCE)
  assert found.split('\n\n')[0] == 'Of the module.'
  expected = [
    'Of the module.',
    'Of a class.',
    'Only this: \\d.',
    'On one line.',
    'Before a comment.',
    'Of the inner one.',
    'Hidden in a branch.',
    'Deep.',
  ]
  places = [found.index(text) for text in expected]
  assert places == sorted(places)
  assert 'not a docstring' not in found
  assert 'second string' not in found


def test_what_is_left_parses_and_has_none():
  left = without_docstrings(SOURCE)
  assert not has_docstrings(left)
  assert shape(left) == shape(SOURCE)
  for kept in ('# A comment that stays.', '# ünïcode', '# kept', 'no either'):
    assert (kept in left) == (kept in SOURCE)
  assert 'return lambda' in left


@pytest.mark.parametrize('module', [ast, inspect, textwrap, warnings, pytest])
def test_real_sources(module):
  source = Path(module.__file__).read_text()
  left = without_docstrings(source)
  assert not has_docstrings(left)
  assert shape(left) == shape(source)
  assert inspect.cleandoc(module.__doc__ or '') in docstrings(source)


def test_warnings_of_other_peoples_code_are_not_shown():
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    assert docstrings('"invalid \\d escape"\n') == 'invalid \\d escape'


def test_no_python():
  with pytest.raises(SyntaxError):
    docstrings('print "two"')
