"""Labels keep apart; pictures follow the page's colours and repeat exactly."""

import itertools

import hypothesis
import pytest
from hypothesis import strategies
from matplotlib.figure import Figure

from tpu_lm.report.style import INK, css, drawing, spread, standalone, to_svg


def test_labels_far_apart_stay():
  assert spread([0.1, 0.9, 0.5], 0.1, 0.0, 1.0) == [0.1, 0.9, 0.5]


def test_labels_that_meet_move_apart_around_their_middle():
  moved = spread([0.5, 0.5], 0.2, 0.0, 1.0)
  assert moved == pytest.approx([0.4, 0.6])


@hypothesis.given(strategies.lists(strategies.floats(0, 1), max_size=9))
def test_labels_never_meet_and_keep_their_order(heights):
  moved = spread(heights, 0.1, 0.0, 1.0)
  order = sorted(range(len(heights)), key=lambda i: heights[i])
  placed = [moved[i] for i in order]
  assert all(b - a >= 0.1 - 1e-9 for a, b in itertools.pairwise(placed))
  assert all(-1e-9 <= height <= 1 + 1e-9 for height in placed)


def drawn(name):
  with drawing():
    figure = Figure(figsize=(2, 1))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=INK)
    axes.set_title('costs $5 & <more>')
    return to_svg(figure, name)


def test_a_picture_takes_its_colours_from_the_page():
  svg = drawn('a')
  assert f'var(--ink, {INK})' in svg
  assert f'--ink:{INK};' in css()
  assert 'costs $5 &amp; &lt;more&gt;' in svg
  assert '<style>' in standalone(svg)


def test_the_same_figure_gives_the_same_text():
  assert drawn('a') == drawn('a')
  assert 'id="a-' in drawn('a')
  assert 'id="b-' in drawn('b')
