"""Tables of numbers as text, one sample a line: pixels in columns, or in one column with spaces.

Text is UTF-8, with or without a byte order mark.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saf.data.arrays.names import is_labels
from saf.data.arrays.stored.array import Index, InMemory
from saf.data.arrays.stored.columns import (
    Columns,
    fields_of,
    is_header,
    is_missing,
    is_number,
    without_comments,
)
from saf.data.dataset import Array
from saf.data.sources.source import Source
from saf.data.sources.stream import BLOCK, gunzip
from saf.errors import DataError

_MAX_LINE = 8 * BLOCK
_LINES = 1024  # parsed together
_HINT = (
    "Give one line for each sample: its label and its pixels, row by row, such as "
    "label,pixel0,pixel1,…"
)
_WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})")
_FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|nan|[-+]?inf", re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """A table that was read."""

    pixels: NumberTable
    labels: Array | None
    """Whole numbers, floats or texts."""
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
    rows = _count(source, name) - bool(columns.skip_first)
    if rows < 1 and b"\r" in source.head(name, BLOCK):
        raise DataError(
            f"{name} ends its lines with carriage returns alone, as old Macs did",
            hint="Save it as CSV UTF-8, with line feeds.",
        )
    if rows < 1:
        raise DataError(f"{name} holds no samples", hint=_HINT)
    width = len(columns.pixels)
    if columns.in_one:
        first = next(_batches(source, name, columns))[1]
        width = len(_rows(name, first[:1], columns, 1)[0][columns.pixels[0]].split())
    values = source.allocate(name, (rows, width, 1, 1), np.float32).reshape(rows, width)
    texts: dict[int, list[str]] = {c: [] for c in (columns.label, columns.split) if c is not None}
    start, whole = 0, True
    for number, lines in _batches(source, name, columns):
        split = _rows(name, lines, columns, number) if texts or columns.in_one else []
        if not split:
            _check_widths(name, lines, columns, number)
        if columns.in_one:
            lines = [row[columns.pixels[0]] for row in split]
        part = _numbers(name, lines, columns, width, number)
        if start + len(part) > rows:
            raise DataError(f"{name} holds lines that break inside a field", hint=_HINT)
        values[start : start + len(part)] = part
        whole = whole and bool((part == np.rint(part)).all()) and bool(np.abs(part).max() < 2**24)
        start += len(part)
        for column, own in texts.items():
            own += [row[column].strip() for row in split]
    labels, splits = columns.label, columns.split
    return Table(
        NumberTable(name, values[:start], whole=whole),
        None if labels is None else _labels(f"{name}, {columns.title(labels)}", texts[labels]),
        None if splits is None else np.array(texts[splits]),
    )


def texts_of(
    source: Source, name: str, columns: Columns, wanted: Sequence[int]
) -> dict[int, Array]:
    """The fields of the wanted columns, as `Table.labels` has them. Raises DataError."""
    found: dict[int, list[str]] = {column: [] for column in wanted}
    for number, lines in _batches(source, name, columns):
        for row in _rows(name, lines, columns, number):
            for column, own in found.items():
                own.append(row[column].strip())
    return {
        column: _labels(f"{name}, {columns.title(column)}", own) for column, own in found.items()
    }


def one_column(source: Source, name: str) -> InMemory | None:
    """The fields of a file with one in each line, below a name of the column or without; None of
    other files. Raises DataError."""
    texts = [line.strip().strip('"') for line in without_comments(_lines(source, name))]
    if any(re.search(r"[,;\s]", text) for text in texts[:16]) or len(texts) < 2:
        return None
    named = is_labels(texts[0]) and texts[0] not in texts[1:]
    if named or is_header([texts[0]], [[text] for text in texts[1:16]]):
        del texts[0]
    return InMemory(name, _labels(name, texts))


def _labels(title: str, texts: list[str]) -> Array:
    """Numbers where all fields are such. Raises DataError where one is empty."""
    if "" in texts:
        raise DataError(
            f"{title}: sample {texts.index('') + 1} has no label",
            hint="Give each sample a label, or leave it out.",
        )
    different = set(texts)
    if all(_WHOLE.fullmatch(text) for text in different):
        return np.array([int(text) for text in texts], np.int64)
    if all(_FLOAT.fullmatch(text) for text in different) and not all(
        text.isdigit()
        for text in different  # "007" is a name
    ):
        return np.array([float(text) for text in texts])
    return np.array(texts)


def _numbers(
    name: str, lines: Sequence[str], columns: Columns, width: int, line: int
) -> NDArray[np.float32]:
    separator, used = (None, None) if columns.in_one else (columns.separator, columns.pixels)
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
        if used is not None and (refused := _no_number(name, lines, columns, line)):
            raise refused from error
        reason = str(error).replace("the dtype passed requires", "there should be")
        reason = reason.partition("; use ")[0][:200]
        raise DataError(
            f"{name}, about line {line}: {reason}", hint=f"Each line needs numbers. {_HINT}"
        ) from error
    if len(found) != len(lines):
        raise DataError(f"{name}, about line {line}: lines break inside a field", hint=_HINT)
    if found.shape[1] != width:
        raise DataError(
            f"{name}, about line {line}: {found.shape[1]} numbers, the first sample has {width}",
            hint=f"Each line needs as many numbers. {_HINT}",
        )
    return found


def _no_number(name: str, lines: Sequence[str], columns: Columns, line: int) -> DataError | None:
    """Which field is no number, by the number of its line among those that are not empty."""
    for number, text in enumerate(lines, start=line):
        row = fields_of(text, columns.separator)
        if len(row) != columns.width:
            return None
        for column in columns.pixels:
            if is_missing(row[column]):
                return DataError(
                    f"{name}, about line {number}: {columns.title(column)} has no value",
                    hint="Each line needs all numbers. Fill in what is missing, such as by the "
                    "mean of its column, or leave out such lines, or the column.",
                )
            if not is_number(row[column]):
                return DataError(
                    f"{name}, about line {number}: {columns.title(column)} holds "
                    f"{row[column].strip()[:40]!r}, which is no number",
                    hint="Each line needs numbers. Write one there, or leave out the line, or the "
                    "column.",
                )
    return None


def _rows(name: str, lines: Sequence[str], columns: Columns, number: int) -> list[list[str]]:
    rows = [fields_of(line, columns.separator) for line in lines]
    for index, row in enumerate(rows):
        if len(row) != columns.width:
            raise _uneven(name, number + index, len(row), columns)
    return rows


def _check_widths(name: str, lines: Sequence[str], columns: Columns, number: int) -> None:
    """The same without making a list of all fields where no field is quoted."""
    separator = columns.separator
    for index, line in enumerate(lines):
        if separator is None or '"' in line:
            fields = len(fields_of(line, separator))
        else:
            fields = line.count(separator) + 1
        if fields != columns.width:
            raise _uneven(name, number + index, fields, columns)


def _uneven(name: str, line: int, fields: int, columns: Columns) -> DataError:
    return DataError(
        f"{name}, about line {line}: {fields} fields, and the first line has {columns.width}",
        hint=f"All lines need the same columns of numbers. {_HINT}",
    )


def _batches(source: Source, name: str, columns: Columns) -> Iterator[tuple[int, list[str]]]:
    """Lines of samples, and the number of the first of them among lines that are not empty."""
    batch: list[str] = []
    start = 1 + bool(columns.skip_first)
    for number, line in enumerate(without_comments(_lines(source, name)), start=1):
        if number < start:
            continue
        batch.append(line)
        if len(batch) == _LINES:
            yield start, batch
            start, batch = number + 1, []
    if batch:
        yield start, batch


def _count(source: Source, name: str) -> int:
    return sum(1 for _ in without_comments(_lines(source, name)))


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
