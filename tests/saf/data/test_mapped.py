"""Rows of mapped files are announced to the kernel whole, and no further than they go."""

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saf.data.mapped import ADVICE, PIECE, MappedRows

PAGE = mmap.PAGESIZE
pytestmark = pytest.mark.skipif(ADVICE < 0, reason="this system takes no such advice")


class Recorder:
    """A mapping that notes what it was asked for."""

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int]] = []

    def madvise(self, advice: int, start: int, length: int) -> None:
        assert advice == ADVICE
        self.ranges.append((start, start + length))


def announced(size: int, rows: list[int], start: int = 80) -> list[tuple[int, int]]:
    recorder = Recorder()
    mapping: Any = recorder
    MappedRows(mapping, start, size).announce(np.array(rows, np.int64))
    return recorder.ranges


def test_rows_are_announced_by_pages_and_neighbours_together() -> None:
    assert announced(3 * PAGE, [7, 0]) == [(0, 80 + 3 * PAGE), (21 * PAGE, 80 + 24 * PAGE)]
    assert announced(PAGE, [4, 3, 5]) == [(3 * PAGE, 80 + 6 * PAGE)]


def test_a_long_row_is_announced_in_pieces() -> None:
    ranges = announced(3 * PIECE, [1], start=0)
    assert ranges == [(n * PIECE, (n + 1) * PIECE) for n in (3, 4, 5)]


def test_rows_of_a_mapped_file_are_found_through_views(tmp_path: Path) -> None:
    np.arange(5 * 3000, dtype=np.uint8).tofile(tmp_path / "x")
    x = np.memmap(tmp_path / "x", np.uint8, "r", offset=100, shape=(4, 1, 30, 100))
    for view in (x, x.view(np.ndarray), x[:, :, None], x[1:]):
        rows = MappedRows.of(view)
        assert rows is not None
        rows.announce(np.arange(len(view)))
    assert MappedRows.of(x[:, :, ::2]) is None
    assert MappedRows.of(np.array(x)) is None
    assert MappedRows.of(x[:0]) is None
