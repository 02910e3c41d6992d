"""Class by class on a job's page: shares that are right, and what is taken for what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST_IN_A_MATRIX = 30  # classes
MOST_PAIRS = 20
MOST_ROWS = 100  # classes in the table, the worst first


@dataclass(frozen=True, kw_only=True)
class Row:
    """A class."""

    name: str
    samples: int
    accuracy: float | None
    """None without samples."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Samples of one class that are taken for another."""

    name: str
    taken_for: str
    count: int
    share: float
    """Of the samples of the class."""


@dataclass(frozen=True, kw_only=True)
class ClassTable:
    """Results of the test samples, class by class."""

    classes: int
    rows: list[Row]
    """In their order; of many classes the worst."""
    balanced_accuracy: float
    matrix: list[list[int]] | None
    """`matrix[i][j]` samples of class i taken for class j, of few classes; else None."""
    names: list[str]
    pairs: list[Pair]
    """Of many classes those that are confused most often, the most frequent first."""


def class_table(report: Mapping[str, Any] | None) -> ClassTable | None:
    """Read from `report.json`; None where that has nothing of the kind."""
    found = (report or {}).get("classes")
    if not isinstance(found, dict):
        return None
    names, samples, accuracies = found["names"], found["samples"], found["accuracy"]
    rows = [
        Row(name=name, samples=count, accuracy=accuracy)
        for name, count, accuracy in zip(names, samples, accuracies, strict=True)
    ]
    if len(rows) > MOST_ROWS:
        there = [row for row in rows if row.accuracy is not None]
        rows = sorted(there, key=lambda row: (row.accuracy, -row.samples))[:MOST_ROWS]
    confusion = found["confusion"]
    is_small = confusion is not None and len(names) <= MOST_IN_A_MATRIX
    return ClassTable(
        classes=len(names),
        rows=rows,
        balanced_accuracy=found["balanced_accuracy"],
        matrix=confusion if is_small else None,
        names=names,
        pairs=[] if is_small or confusion is None else _most_confused(names, samples, confusion),
    )


def _most_confused(names: list[str], samples: list[int], confusion: list[list[int]]) -> list[Pair]:
    wrong = (
        (count, i, j)
        for i, row in enumerate(confusion)
        for j, count in enumerate(row)
        if count and i != j
    )
    most = sorted(wrong, key=lambda found: (-found[0], found[1], found[2]))[:MOST_PAIRS]
    return [
        Pair(name=names[i], taken_for=names[j], count=count, share=count / samples[i])
        for count, i, j in most
    ]
