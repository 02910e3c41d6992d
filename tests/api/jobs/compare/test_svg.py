"""Curves as SVG."""

from __future__ import annotations

import itertools
import math

import pytest

from api.jobs.compare import svg


def drawn(points: list[svg.Point], log: bool = False) -> svg.Plot:
    line = svg.Line(name="one", style=0, points=points)
    plot = svg.plot("Title", [line], says=lambda value: f"{value:g}", log=log)
    assert plot is not None
    return plot


def test_a_curve_runs_from_edge_to_edge_and_between_round_numbers() -> None:
    plot = drawn([(0, 0.13), (50, 0.87), (100, 0.4)])
    assert plot.x_range == (0, 100)
    assert plot.y_range == (0, 1)
    assert [label for _, label in plot.y_ticks] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert plot.strokes[0].path.startswith(f"M{svg.LEFT} ")
    assert f"L{svg.WIDTH - svg.RIGHT} " in plot.strokes[0].path


def test_what_is_no_number_interrupts_the_curve_and_is_marked() -> None:
    stroke = drawn([(0, 1.0), (1, 2.0), (2, None), (3, 1.5)]).strokes[0]
    assert stroke.path.count("M") == 1
    assert len(stroke.lone) == 1
    assert len(stroke.gaps) == 1


def test_an_accuracy_that_is_1_throughout_has_no_axis_above_it() -> None:
    line = svg.Line(name="one", style=0, points=[(0, 1.0), (5, 1.0)])
    plot = svg.plot("Accuracy", [line], says="{:.0%}".format, most=1.0)
    assert plot is not None
    assert plot.y_range == (0.8, 1.0)
    assert [label for _, label in plot.y_ticks] == ["80%", "100%"]


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e-12, 7e9])
def test_one_value_alone_can_be_drawn(value: float) -> None:
    plot = drawn([(5, value)])
    assert plot.y_range[0] <= value <= plot.y_range[1]
    assert plot.y_range[0] < plot.y_range[1]
    ((x, y),) = plot.strokes[0].lone
    assert math.isfinite(x)
    assert svg.TOP <= y <= svg.HEIGHT - svg.BOTTOM


def test_a_logarithmic_axis_spaces_powers_of_ten_evenly_and_leaves_out_zero() -> None:
    plot = drawn([(0, 0.0), (1, 1e-4), (2, 1.0), (3, 100.0)], log=True)
    heights = [y for y, _ in plot.y_ticks]
    gaps = {round(a - b, 1) for a, b in itertools.pairwise(heights)}
    assert len(gaps) == 1
    assert len(plot.strokes[0].gaps) == 1


def test_nothing_to_draw_is_no_plot() -> None:
    line = svg.Line(name="one", style=0, points=[(0, None)])
    assert svg.plot("Title", [line], says=str) is None
    assert svg.plot("Title", [], says=str) is None
