"""What the templates write and what the scripts put in its place are the same words."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from api.web import formatting
from saf import sizes
from tests.javascript import call_each

SECONDS = [0, 0.2, 0.5, 1, 1.5, 2.5, 59.4, 59.5, 60, 61, 3599, 3600, 7260, 86_400, 1e6]
NUMBERS = [
    *(0, 1, -2.5, 0.1369, 1.9e-6, -3e-4, 0.0012345, 12_345.6, 99_999, 123_456, 5e12, None),
    *(0.00099996, 99_999.7, 0.5, 1.00005, 10.0005, -1.0005, 1.125e-5, 1.125e5, -0.0),
]
SHARES = [None, 0, 1, 0.99722, 0.12125, 0.00125, 0.00375, 0.5, 0.005, 0.125]
METRICS = ["test_accuracy", "firing_rate/layer1", "step_seconds", "device_use", "memory_bytes", "x"]
SIZES = [0, 1, 1023, 1024, 1280, 1792, 480_376, 5_000_000, 3 * 2**30, 5 * 2**40, 7 * 2**50]
COUNTS = [0, 999, 1000, 1_234_567, 10**12]


def test_scripts_and_templates_word_the_same() -> None:
    metrics = list(itertools.product([*SHARES, 3.2e8, 1.25e-3], METRICS))
    written = call_each(
        "web/format.js",
        [
            *(("duration", value) for value in SECONDS),
            *(("number", value) for value in NUMBERS),
            *(("percent", value) for value in SHARES),
            *(("percent", value, 0) for value in SHARES),
            *(("metric", value, name) for value, name in metrics),
            *(("size", value) for value in SIZES),
            *(("count", value) for value in COUNTS),
        ],
    )
    assert written == [
        *(formatting.duration(value) for value in SECONDS),
        *(formatting.number(value) for value in NUMBERS),
        *(formatting.percent(value) for value in SHARES),
        *(formatting.percent(value, 0) for value in SHARES),
        *(formatting.metric(value, name) for value, name in metrics),
        *(sizes.readable(value) for value in SIZES),
        *(f"{value:,}" for value in COUNTS),
    ]


def test_scripts_and_templates_word_any_value_the_same() -> None:
    random = Random(0)
    numbers = [random.choice([-1, 1]) * 10 ** random.uniform(-9, 9) for _ in range(2000)]
    ties = [round(value) / 2**7 for value in numbers]  # halfway between two roundings
    values = [*numbers, *ties]
    calls = [
        *(("duration", abs(value)) for value in values),
        *(("number", value) for value in values),
        *(("percent", value) for value in values),
        *(("metric", value, "step_seconds") for value in values),
        *(("size", random.randrange(2 ** random.randrange(60))) for _ in values),
    ]
    ours = {"size": sizes.readable}
    said = [(ours.get(name) or getattr(formatting, name))(*given) for name, *given in calls]  # type: ignore[arg-type]
    pairs = zip(calls, call_each("web/format.js", calls), said, strict=True)  # type: ignore[arg-type]
    assert [pair for pair in pairs if pair[1] != pair[2]] == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_said_and_ends_no_page(value: float) -> None:
    for said in (
        formatting.number(value),
        formatting.percent(value),
        formatting.metric(value, "step_seconds"),
        formatting.metric(value, "memory_bytes"),
        formatting.metric(value, "x"),
    ):
        assert said == "NaN"


@pytest.mark.parametrize("seconds", [0, 50, 70, 3590, 3600 * 5, 86_400 * 40])
def test_ages_are_worded_the_same(seconds: float) -> None:
    moment = (datetime.now(UTC) - timedelta(seconds=seconds + 0.01)).isoformat()
    later = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()  # a clock that is behind
    assert call_each("web/format.js", [("age", moment), ("age", later)]) == [
        formatting.age(moment),
        formatting.age(later),
    ]
