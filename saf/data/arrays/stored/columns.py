"""What the columns of a table of numbers are, told by its first lines.

Separators are commas, semicolons, tabs or spaces; a first line of names may be there or not.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import dropwhile

from saf.errors import DataError

HEAD = 2**18
FEWEST_PIXELS = 16
"""Columns of numbers below which a table is no table of pixels."""
FEWEST_FEATURES = 4
"""The same of features: columns with names of their own, beside one that is named as labels are."""
_LOOKED_AT = 16  # lines
_LABEL = re.compile(
    r"(label|labels|class|classes|target|y|emotion|digit|category|class_?id|species)", re.IGNORECASE
)
_SPLIT = re.compile(r"(usage|split|set|subset|partition)", re.IGNORECASE)
MISSING = frozenset(("", "?", "-", "na", "n/a", "nan", "null", "none", "missing"))
"""What stands in a field without a value, in small letters."""
_IGNORED = re.compile(
    r"(|id|index|unnamed: 0|image_?id|filename|file|name|path|k?_?fold)", re.IGNORECASE
)


@dataclass(frozen=True)
class Columns:
    """What the columns of a table are."""

    separator: str | None
    """None for any white space."""
    names: tuple[str, ...] | None
    """None where there is no line of names."""
    width: int
    """How many columns there are."""
    label: int | None
    pixels: tuple[int, ...]
    split: int | None = None
    in_one: bool = False
    """Whether the only column of pixels holds all of them, with spaces between."""
    skip_first: str = ""
    """Where the first line holds no sample that is read: what it holds."""
    ends: tuple[int, ...] = ()
    """Where no name says so, the columns that may be labels: of texts, the first and the last; of
    columns with names those that are not named as the others are."""

    def title(self, column: int) -> str:
        """What a column is called in messages."""
        return f"column {column + 1}" if self.names is None else f"column {self.names[column]!r}"

    def by_number(self) -> Columns:
        """The same with the pixels by the numbers in their names where these stand in the order of
        texts, "pixel1", "pixel10", "pixel2", as programs leave them that sort columns."""
        if self.names is None:
            return self
        names = {column: self.names[column] for column in self.pixels}
        if len({re.sub(r"\d+", "#", name) for name in names.values()}) > 1:
            return self
        if list(names.values()) != sorted(names.values()):
            return self
        numbers = {c: [int(n) for n in re.findall(r"\d+", name)] for c, name in names.items()}
        return replace(self, pixels=tuple(sorted(self.pixels, key=lambda c: numbers[c])))

    @property
    def are_features(self) -> bool:
        """Whether each column of numbers has a name of its own, and not just a number of its own as
        pixels and time steps have, beside one that is named as labels are."""
        if self.names is None or self.label is None or self.in_one:
            return False
        of_events = {name.strip().lower() for name in self.names} >= {"x", "y"}
        kinds = {re.sub(r"\d+", "#", self.names[column]) for column in self.pixels}
        return len(kinds) == len(self.pixels) >= FEWEST_FEATURES and not of_events

    @property
    def left(self) -> tuple[str, ...]:
        """The columns that are neither label, split nor pixels."""
        used = {self.label, self.split, *self.pixels}
        return tuple(self.title(column) for column in range(self.width) if column not in used)


def columns_of(
    head: bytes, labels_from: str | None = None, *, features: bool = False
) -> Columns | None:
    """What the columns of a table are, by its first lines; None where it is no table of pixels,
    nor, where that may be, of `features`."""
    if b"\0" in head:
        return None
    text = head.decode("utf-8-sig", "replace")
    lines = text.splitlines()
    if len(text) >= HEAD - 4 and len(lines) > 1:
        lines.pop()  # cut
    lines = list(without_comments(line for line in lines if line.strip()))[:_LOOKED_AT]
    if len(lines) < 2:
        return None
    separator = _separator(lines[0])
    rows = [fields_of(line, separator) for line in lines]
    first, row, width = rows[0], rows[1], len(rows[1])
    if width < 2 or len(first) != width:
        return None
    skip, names = "", None
    if _made_of_a_sample(first):
        skip = "a sample whose values pandas took for names of columns"
    elif is_header(first, rows[1:]):
        skip = "numbers of columns"
        if not all(is_number(field) for field in first):
            skip, names = "names of columns", tuple(field.strip() for field in first)
    label, split = None, None
    if names is not None:
        label = _place(names, labels_from) if labels_from else _named(names, _LABEL)
        split = _named(names, _SPLIT)
    elif labels_from:
        label = _place(tuple(str(n + 1) for n in range(width)), labels_from)
    others = [
        column
        for column in range(width)
        if column not in (label, split)
        and not (names is not None and _IGNORED.fullmatch(names[column]))
    ]
    packed = [column for column in others if len(row[column].split()) >= FEWEST_PIXELS]
    pixels = tuple(column for column in others if _holds_numbers(rows[1:], column))
    in_one = len(packed) == 1
    if in_one:
        pixels = (packed[0],)
    elif len(pixels) < FEWEST_PIXELS or len(pixels) < len(others) - 2:
        few = Columns(separator, names, width, label, pixels, split, skip_first=skip)
        is_table = features and len(pixels) >= len(others) - 2
        return few if is_table and few.are_features else None
    ends: tuple[int, ...] = ()
    if label is None and names is None:
        texts = [column for column in others if column not in pixels]
        numbers = () if in_one else (pixels[0], pixels[-1])
        ends = tuple(dict.fromkeys((*texts, *numbers)))
    elif label is None and names is not None:
        kinds = {column: re.sub(r"\d+", "#", names[column]) for column in others}
        common = Counter(kinds[column] for column in pixels).most_common(1)[0][0]
        ends = tuple(column for column in others if kinds[column] != common and not in_one)
    return Columns(separator, names, width, label, pixels, split, in_one, skip, ends)


def without_comments(lines: Iterable[str]) -> Iterator[str]:
    """The lines without those at the beginning that start with "#", as numpy.savetxt writes."""
    return dropwhile(lambda line: line.lstrip().startswith("#"), lines)


def is_header(first: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether a first line names the columns of the others: all that stands above numbers is text,
    or numbers that count the columns."""
    numbers = [
        column
        for column, field in enumerate(first)
        if field.strip()
        and all(len(row) > column and is_number(row[column], packed=True) for row in rows)
    ]
    above = {c: first[c] for c in numbers if is_number(first[c], packed=True)}
    return bool(numbers) and (not above or _counts(above))


def fields_of(line: str, separator: str | None) -> list[str]:
    """The fields of a line."""
    if separator is None:
        return line.split()
    return next(csv.reader([line.rstrip("\r\n")], delimiter=separator), [])


def is_number(field: str, *, packed: bool = False) -> bool:
    """Whether a field holds a number; or, `packed`, several with spaces between."""
    parts = field.split() if packed else [field]
    try:
        for part in parts:
            float(part)
    except ValueError:
        return False
    return bool(parts)


def is_missing(field: str) -> bool:
    """Whether a field stands for a value that is not there."""
    return field.strip().lower() in MISSING


def _holds_numbers(rows: Sequence[Sequence[str]], column: int) -> bool:
    """Whether a column is one of numbers, by the first of its fields that is not missing."""
    fields = (row[column] for row in rows if len(row) > column)
    return next((is_number(field) for field in fields if not is_missing(field)), False)


def _counts(fields: Mapping[int, str]) -> bool:
    """Whether numbers by column go up as the columns do, as those do that count them."""
    if len(fields) < FEWEST_PIXELS or not all(is_number(field) for field in fields.values()):
        return False
    starts = {float(field) - column for column, field in fields.items()}
    return len(starts) == 1 and float(next(iter(fields.values()))).is_integer()


def _made_of_a_sample(first: Sequence[str]) -> bool:
    """Whether names are such as pandas makes of a sample that it takes for them, in which nothing
    may occur twice: "0,0.1,0.2,7,0.3"."""
    seen: dict[str, int] = {}
    again = 0
    for field in first:
        if field in seen:
            return False
        base, _, number = field.rpartition(".")
        if base in seen and number == str(seen[base]):
            seen[base] += 1
            again += 1
        else:
            seen[field] = 1
    return again >= max(2, len(first) // 4) and all(is_number(field) for field in first[1:-1])


def _separator(line: str) -> str | None:
    counts = {each: line.count(each) for each in (",", ";", "\t")}
    best = max(counts, key=lambda each: counts[each])
    return best if counts[best] else None


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
