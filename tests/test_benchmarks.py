"""Benchmarks are where documents and results say, and find in a training what they measure."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.speed import overhead

ROOT = Path(__file__).parents[1]


def test_every_benchmark_that_is_named_is_there() -> None:
    named: dict[str, Path] = {}
    for top in ("benchmarks", "docs", "saf", "tests", "README.md", "CHANGELOG.md", "Makefile"):
        for file in (ROOT / top, *(ROOT / top).rglob("*")):
            if file.suffix in {".md", ".py", ".json"} or file.name == "Makefile":
                found = re.findall(r"-m (benchmarks[.\w]*)", file.read_text())
                named |= dict.fromkeys((name.rstrip(".") for name in found), file)
    assert len(named) >= 20
    for name, file in named.items():
        program = ROOT / name.replace(".", "/")
        assert program.with_suffix(".py").exists() or (program / "__main__.py").exists(), (
            name,
            file,
        )


@pytest.mark.slow
def test_the_parts_of_a_training_are_told_apart() -> None:
    found = overhead.measured(epochs=2)
    expected = {
        *overhead.ARITHMETIC,
        "samples",
        "metrics",
        "spike_statistics",
        "checkpoints",
        "reports",
    }
    assert expected <= set(found["loop"])
    assert all(found["loop"][part] > 0 for part in expected)
    assert 0 < overhead.outside(found["loop"]) < 1
