"""The bar of a training in a terminal, and its lines elsewhere."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from saf.client.progress import Moment, TrainingBar, duration, numbers


def shown(moments: list[Moment], **console: Any) -> str:
    out = io.StringIO()
    with TrainingBar(Console(file=out, width=160, **console), "job") as bar:
        for moment in moments:
            bar.show(moment)
    return out.getvalue()


def moments() -> list[Moment]:
    running = [
        Moment(status="running", step=step, steps_total=100, metrics={"loss": 1 / step})
        for step in range(1, 101)
    ]
    return [Moment(status="queued", note="2 before it"), *running, Moment(status="succeeded")]


def test_in_a_terminal_one_line_lives() -> None:
    text = shown(moments(), force_terminal=True)
    assert "\x1b" in text
    assert "job succeeded" in text


def test_elsewhere_a_line_appears_for_each_status_and_then_now_and_then() -> None:
    lines = shown(moments()).splitlines()
    assert lines[0] == "job queued 2 before it"
    assert lines[1] == "job running step 1/100  loss 1.000"
    assert lines[-1] == "job succeeded"
    assert len(lines) < 10


def test_numbers_that_are_not_known_are_left_out() -> None:
    assert numbers(Moment(status="running", metrics={"loss": None})) == ""
    moment = Moment(status="running", metrics={"accuracy": 0.5}, seconds_left=75)
    assert numbers(moment) == "accuracy 50.0%  1:15 left"


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s"), (59.4, "59 s"), (60, "1:00"), (3725, "1:02:05")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
