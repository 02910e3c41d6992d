"""Curves drawn as SVG: the same lines for a page and for a file that stands by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

COLOURS = ("#1d5bbf", "#c2410c", "#15803d", "#9333ea", "#b8860b", "#0e7490")
DASHES = ("", "5 3")  # the second round of colours is dashed
WIDTH, HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 68, 10, 30, 24
MOST_LINES = len(COLOURS) * len(DASHES)
Point = tuple[float, float | None]


@dataclass(frozen=True, kw_only=True)
class Line:
    """A curve to draw; a value that is None is no number and interrupts it."""

    name: str
    style: int
    """Which colour and dash, 0 to MOST_LINES − 1."""
    points: Sequence[Point]


@dataclass(frozen=True, kw_only=True)
class Stroke:
    """A curve in the units of the drawing."""

    name: str
    colour: int
    dash: str
    path: str
    lone: tuple[tuple[float, float], ...]
    """Points without a neighbour."""
    gaps: tuple[float, ...]
    """Where along x a value is no number."""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A drawing of WIDTH × HEIGHT; positions in its units, ranges in those of the data."""

    title: str
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    is_log: bool
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    strokes: tuple[Stroke, ...]


def plot(
    title: str,
    lines: Sequence[Line],
    *,
    says: Callable[[float], str],
    unit: float = 1.0,
    log: bool = False,
    x_range: tuple[float, float] | None = None,
    most: float = math.inf,
) -> Plot | None:
    """The drawing of some curves over one x; `says` writes a value of the y axis, which is marked
    at round multiples of `unit`. `most` is the largest value that there can be.

    None where there is nothing to draw. A logarithmic axis leaves out what is not positive.
    """
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points if y is not None and (y > 0 or not log)]
    if not ys:
        return None
    left, right = x_range or (min(xs), max(xs))
    right = right if right > left else left + 1
    low, high = min(ys) / unit, max(ys) / unit
    round_numbers = _log_ticks(low, high) if log else _ticks(low, high, 5, most / unit)
    ticks = [unit * tick for tick in round_numbers]
    bottom, top = min(ticks[0], *ys), max(ticks[-1], *ys)

    def across(x: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (x - left) / (right - left), 2)

    def up(y: float) -> float:
        share = (
            math.log(y / bottom) / math.log(top / bottom) if log else (y - bottom) / (top - bottom)
        )
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share, 2)

    x_ticks = [tick for tick in _ticks(left, right, 6) if left <= tick <= right]
    return Plot(
        title=title,
        x_range=(left, right),
        y_range=(bottom, top),
        is_log=log,
        x_ticks=tuple((across(tick), f"{tick:,.6g}") for tick in x_ticks),
        y_ticks=tuple((up(tick), says(tick)) for tick in ticks),
        strokes=tuple(_stroke(line, across, up, log) for line in lines if line.points),
    )


def _stroke(
    line: Line, across: Callable[[float], float], up: Callable[[float], float], log: bool
) -> Stroke:
    runs: list[list[tuple[float, float]]] = [[]]
    gaps = []
    for x, y in line.points:
        if y is None or (log and y <= 0):
            gaps.append(across(x))
            runs.append([])
        else:
            runs[-1].append((across(x), up(y)))
    drawn = [run for run in runs if len(run) > 1]
    return Stroke(
        name=line.name,
        colour=line.style % len(COLOURS),
        dash=DASHES[line.style // len(COLOURS) % len(DASHES)],
        path="".join("M" + "L".join(f"{x:g} {y:g}" for x, y in run) for run in drawn),
        lone=tuple(run[0] for run in runs if len(run) == 1),
        gaps=tuple(gaps),
    )


def _ticks(low: float, high: float, about: int, most: float = math.inf) -> list[float]:
    """Round numbers that enclose the range of y, some `about` of them; none is above `most`."""
    span = (high - low) or abs(high) or 1.0
    rough = span / about
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if first == last:
        first, last = (first - 1, last) if low == most else (first, last + 1)
    digits = max(0, 2 - math.floor(math.log10(step)))  # 3 · 0.1 is to be 0.3
    return [round(number * step, digits) for number in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    if last - first <= 2:
        every = [f * 10.0**power for power in range(first, last + 1) for f in (1, 2, 5)]
        inside = [tick for tick in every if low / 2.5 <= tick <= high * 2.5]
        return inside if len(inside) > 1 else [low, 2 * low]
    return [10.0**power for power in range(first, last + 1, max(1, (last - first) // 6))]
