"""The benchmark that reaches into a training finds there what it measures."""

from __future__ import annotations

import pytest

from benchmarks import overhead


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
