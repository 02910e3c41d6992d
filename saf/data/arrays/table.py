"""Tables of numbers as text, one sample a line: pixels in columns, or in one column with spaces.

Separators are commas, semicolons, tabs or spaces; a first line of names may be there or not. Text
is UTF-8, with or without a byte order mark.
"""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saf.data.arrays.stored import Index, InMemory
from saf.data.dataset import Array
from saf.data.sources.source import Source
from saf.data.sources.stream import BLOCK, gunzip
from saf.errors import DataError

HEAD = 2**18
FEWEST_PIXELS = 16
"""Columns of numbers below which a table is no table of pixels."""
_MAX_LINE = 8 * BLOCK
_LINES = 1024  # parsed together
_LABEL = re.compile(
    r"(label|labels|class|classes|target|y|emotion|digit|category|class_?id|species)", re.IGNORECASE
)
_SPLIT = re.compile(r"(usage|split|set|subset|fold|partition)", re.IGNORECASE)
_IGNORED = re.compile(r"(|id|index|unnamed: 0|image_?id|filename|file|name|path)", re.IGNORECASE)
_HINT = (
    "Give one line for each sample: its label and its pixels, row by row, such as "
    "label,pixel0,pixel1,…"
)


@dataclass(frozen=True)
class Columns:
    """What the columns of a table are."""

    separator: str | None
    """None for any white space."""
    names: tuple[str, ...] | None
    """None where there is no line of names."""
    label: int | None
    pixels: tuple[int, ...]
    split: int | None = None
    in_one: bool = False
    """Whether the only column of pixels holds all of them, with spaces between."""
    skip_first: bool = False
    """Whether the first line holds no sample."""
    ends: tuple[int, int] | None = None
    """Where no name says so, the two columns that may be labels: the first and the last."""


def columns_of(head: bytes, labels_from: str | None = None) -> Columns | None:
    """What the columns of a table are, by its first lines; None where it is no table of pixels."""
    if b"\0" in head:
        return None
    text = head.decode("utf-8-sig", "replace")
    lines = text.splitlines()
    if len(text) >= HEAD - 4 and len(lines) > 1:
        lines.pop()  # cut
    lines = [line for line in lines if line.strip()][:4]
    if len(lines) < 2:
        return None
    separator = _separator(lines[0])
    rows = [_fields(line, separator) for line in lines]
    width = len(rows[1])
    if width < 2 or len(rows[0]) != width:
        return None
    numbered = _is_numbered(rows)
    names = None
    if not numbered and _is_header(rows):
        names = tuple(field.strip() for field in rows[0])
    skip = numbered or names is not None
    label, split = None, None
    if names is not None:
        label = _place(names, labels_from) if labels_from else _named(names, _LABEL)
        split = _named(names, _SPLIT)
    elif labels_from:
        label = _place(tuple(str(n + 1) for n in range(width)), labels_from)
    row = rows[1]
    others = [
        column
        for column in range(width)
        if column not in (label, split)
        and not (names is not None and _IGNORED.fullmatch(names[column]))
    ]
    packed = [column for column in others if len(row[column].split()) >= FEWEST_PIXELS]
    if len(packed) == 1:
        return Columns(separator, names, label, (packed[0],), split, in_one=True, skip_first=skip)
    pixels = tuple(column for column in others if _is_number(row[column]))
    if len(pixels) < FEWEST_PIXELS or len(pixels) < len(others) - 2:
        return None
    ends = None
    if label is None and names is None:
        ends = (0, width - 1)
    return Columns(separator, names, label, pixels, split, skip_first=skip, ends=ends)


@dataclass(frozen=True)
class Table:
    """A table that was read."""

    pixels: NumberTable
    labels: NDArray[np.str_] | None
    splits: NDArray[np.str_] | None


class NumberTable(InMemory):
    """Numbers (N, D), as integers where all are whole."""

    def __init__(self, name: str, values: NDArray[np.float32], *, whole: bool) -> None:
        super().__init__(name, values)
        self._whole = whole
        if whole:
            self.dtype = np.dtype(np.int32)

    def blocks(self) -> Iterator[tuple[Index, Array]]:
        for index, block in super().blocks():
            yield index, block.astype(self.dtype, copy=False)


def read_table(source: Source, name: str, columns: Columns) -> Table:
    """The numbers of a file, in memory that `Source.allocate` takes. Raises DataError, which names
    the line."""
    rows = _count(source, name) - columns.skip_first
    if rows < 1:
        raise DataError(f"{name} holds no samples", hint=_HINT)
    width = len(columns.pixels)
    if columns.in_one:
        first = next(_rows(source, name, columns))
        width = len(first[columns.pixels[0]].split())
    values = source.allocate(name, (rows, width, 1, 1), np.float32).reshape(rows, width)
    labels: list[str] = []
    splits: list[str] = []
    start, whole = 0, True
    for lines in _batches(source, name, columns):
        part = _numbers(name, lines, columns, width, start + 1 + columns.skip_first)
        if start + len(part) > rows:
            raise DataError(f"{name} holds lines that break inside a field", hint=_HINT)
        values[start : start + len(part)] = part
        whole = whole and bool((part == np.rint(part)).all()) and bool(np.abs(part).max() < 2**24)
        start += len(part)
        for column, into in ((columns.label, labels), (columns.split, splits)):
            if column is not None:
                into += [row[column].strip() for row in _split(lines, columns)]
    return Table(
        NumberTable(name, values[:start], whole=whole),
        np.array(labels) if columns.label is not None else None,
        np.array(splits) if columns.split is not None else None,
    )


def _numbers(
    name: str, lines: Sequence[str], columns: Columns, width: int, line: int
) -> NDArray[np.float32]:
    separator, used = columns.separator, columns.pixels
    if columns.in_one:
        lines = [row[columns.pixels[0]] for row in _split(lines, columns)]
        separator, used = None, tuple(range(width))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = np.loadtxt(
                lines,
                np.float32,
                comments=None,
                delimiter=separator,
                usecols=used,
                ndmin=2,
                quotechar='"',
            )
    except Exception as error:
        reason = str(error).replace("the dtype passed requires", "there should be")[:200]
        raise DataError(
            f"{name}, about line {line}: {reason}", hint=f"Each line needs numbers. {_HINT}"
        ) from error
    if len(found) != len(lines):
        raise DataError(f"{name}, about line {line}: lines break inside a field", hint=_HINT)
    return found


def _rows(source: Source, name: str, columns: Columns) -> Iterator[list[str]]:
    for lines in _batches(source, name, columns):
        yield from _split(lines, columns)


def _split(lines: Sequence[str], columns: Columns) -> list[list[str]]:
    rows = [_fields(line, columns.separator) for line in lines]
    wanted = [c for c in (columns.label, columns.split, *columns.pixels[:1]) if c is not None]
    if any(len(row) <= max(wanted) for row in rows):
        raise DataError("a line has fewer fields than the first", hint=_HINT)
    return rows


def _batches(source: Source, name: str, columns: Columns) -> Iterator[list[str]]:
    batch: list[str] = []
    skip = columns.skip_first
    for line in _lines(source, name):
        if skip:
            skip = False
            continue
        batch.append(line)
        if len(batch) == _LINES:
            yield batch
            batch = []
    if batch:
        yield batch


def _count(source: Source, name: str) -> int:
    return sum(1 for _ in _lines(source, name))


def _lines(source: Source, name: str) -> Iterator[str]:
    """Lines that are not empty."""
    rest, first = b"", True
    for content in source.contents([name]):
        packed = name.lower().endswith(".gz") and not source.single  # those are unpacked already
        unpacked = gunzip(content) if packed else content
        while block := unpacked.read(BLOCK):
            rest += block
            *whole, rest = rest.split(b"\n")
            if len(rest) > _MAX_LINE:
                raise DataError(f"{name} holds a line of more than 8 MiB", hint=_HINT)
            for line in whole:
                if line.strip():
                    yield line.decode("utf-8-sig" if first else "utf-8", "replace")
                    first = False
        if rest.strip():
            yield rest.decode("utf-8-sig" if first else "utf-8", "replace")


def _separator(line: str) -> str | None:
    counts = {each: line.count(each) for each in (",", ";", "\t")}
    best = max(counts, key=lambda each: counts[each])
    return best if counts[best] else None


def _fields(line: str, separator: str | None) -> list[str]:
    if separator is None:
        return line.split()
    return next(csv.reader([line.rstrip("\r\n")], delimiter=separator), [])


def _is_header(rows: Sequence[Sequence[str]]) -> bool:
    first, second = rows[0], rows[1]
    if sum(not _is_number(field) for field in first) > 1:
        return True
    return not _is_number(first[0]) and _is_number(second[0])


def _is_numbered(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first line has names as pandas gives columns without: "0,0.1,0.2,0.3"."""
    first, second = rows[0], rows[1]
    fractions = sum("." in field for field in first)
    return fractions >= len(first) // 2 and not any("." in field for field in second)


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _named(names: Sequence[str], pattern: re.Pattern[str]) -> int | None:
    return next((i for i, name in enumerate(names) if pattern.fullmatch(name.strip())), None)


def _place(names: tuple[str, ...], wanted: str) -> int:
    column = wanted.rpartition(":")[2]
    if column in names:
        return names.index(column)
    if column.isdigit() and 1 <= int(column) <= len(names):
        return int(column) - 1
    raise DataError(
        f"there is no column {column[:40]!r} for the labels",
        hint=f"The columns are {', '.join(names[:6])}, …; or say its number, counted from 1.",
    )
