"""Classes of images that no folder names: from a table beside them, or from their own names."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from saf.data.images.tables.columns import (
    boxes,
    flag_of,
    heading,
    is_label,
    is_other,
)
from saf.data.images.tables.table import Table
from saf.data.images.tree import LAYOUT
from saf.data.images.words import Role, alike
from saf.errors import DataError

MANY = 20
"""Numbers up to which a column without a telling heading is taken for classes unasked."""
_ROLE_ORDER: dict[Role | None, int] = {"train": 0, None: 1, "val": 2, "test": 3}
_WHOLE = re.compile(r"^(-?\d+)\.0+$")
"""What pandas adds to whole numbers in a column that has gaps: 3.0."""
_BEFORE = re.compile(r"^(\D*?[^\W\d_])[\s._()\-]*\d[\d\s._()\-]*$")
_AFTER = re.compile(r"^\d[\d\s._()\-]*([^\W\d_]\D*?)$")


@dataclass
class Labelling:
    """One way to label images."""

    value: str
    """What `labels_from` is for it."""
    label: dict[str, str]
    """The class of each image."""
    why: str
    """In words, where the classes are from."""
    sure: bool = False
    """Whether the heading says that it holds classes."""
    only: bool = False
    """Whether the table has no other column that could mean anything."""

    @property
    def plain(self) -> bool:
        """Whether the values look like classes: neither several in one, as "clear|primary", nor,
        under a heading that says nothing, many numbers, as of ages."""
        values = set(self.label.values())
        if not self.sure and len(values) > MANY and all(map(is_number, values)):
            return False
        for mark in "|;, ":
            parts = [value.split(mark) for value in values]
            several = sum(len(each) > 1 for each in parts)
            distinct = {part.strip() for each in parts for part in each}
            if several * 3 > len(values) and len(distinct) < len(values):
                return False
        return True

    def counts(self) -> Counter[str]:
        """How many images each class has."""
        return Counter(self.label.values())

    def words(self) -> str:
        """Classes with their counts, for people."""
        counts = self.counts()
        listed = ", ".join(f"{name} ({count:,})" for name, count in counts.most_common(6))
        more = ", …" if len(counts) > 6 else ""
        return f"{len(counts):,} classes, {self.why}: {listed[:300]}{more}"


def labellings(tables: Sequence[Table], column: str | None = None) -> list[Labelling]:
    """The ways in which tables label images. Tables of one kind, such as train.csv and val.csv,
    are one; `column` names the only one that is wanted. Raises DataError where a column that is
    named as classes are gives an image two of them."""
    kinds: dict[tuple[object, ...], list[Table]] = defaultdict(list)
    for table in tables:
        kinds[(table.core, heading(table.columns[table.key]))].append(table)
    found = []
    for kind in _of_parts(list(kinds.values())):
        kind = sorted(kind, key=lambda table: (_ROLE_ORDER[table.role], table.name))
        found += _of_kind(kind, column)
    found = _distinct(found)
    sure = [each for each in found if each.sure]
    return sure if sure and column is None else found


def _of_parts(kinds: list[list[Table]]) -> list[list[Table]]:
    """Kinds of tables, those together that have the same headings and name different images."""
    found: list[list[Table]] = []
    for kind in kinds:
        heads = {tuple(map(heading, table.columns)) for table in kind}
        named = {name for table in kind for name in table.images}
        for other in found:
            there = {name for table in other for name in table.images}
            same = {tuple(map(heading, table.columns)) for table in other} == heads
            numbered = any(all(map(str.isdigit, each)) for each in heads)
            if same and not numbered and not (named & there) - {None}:
                other += kind
                break
        else:
            found.append(list(kind))
    return found


def contradicting(tables: Sequence[Table], folders: Mapping[str, str]) -> Labelling | None:
    """A column that is named as classes are and says others, of most images, than `folders` say:
    the class of each image by its folder. The same classes by other names are no others, nor are
    those of the innermost folders."""
    try:
        ways = [way for way in labellings(tables) if way.sure]
    except DataError:
        return None  # a table that contradicts itself, beside folders that say the classes
    inner = {name: name.split("/")[-2] for name in folders if "/" in name}
    for way in ways:
        both = [name for name in folders if name in way.label]
        if len(both) * 2 >= len(folders) and not any(
            _same_by(way.label, each, both) for each in (folders, inner)
        ):
            return way
    return None


def says_others(table: Table, classes: Collection[str]) -> bool:
    """Whether a column that is named as classes are, or the only one, says others than `classes`,
    and more or fewer of them."""
    free = _columns([table], free=True)
    known = set(map(alike, classes))
    for index, column in enumerate(table.columns):
        if index != table.key and (
            is_label(column, table.columns) or (free == [column] and not known)
        ):
            values = {alike(row[index]) for row in table.rows if index < len(row)} - {""}
            if not values <= known and len(values) not in (0, 1, len(known)):
                return True
    return False


def _same_by(label: Mapping[str, str], folders: Mapping[str, str], names: Sequence[str]) -> bool:
    pairs = {(alike(label[name]), alike(folders.get(name, ""))) for name in names}
    return len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs})


def of_names(images: Collection[str], others: Iterable[str] = ()) -> Labelling | None:
    """Classes from the names of files: what stands before a number, or behind one. Of `others`,
    such as test images, those that are named by one of these classes have it."""
    for pattern, where in ((_BEFORE, "before"), (_AFTER, "behind")):
        label = {name: said for name in images if (said := _said(pattern, name))}
        found = Labelling("names", label, f"from what stands {where} the number in file names")
        if 2 <= len(found.counts()) <= len(label) / 2 and len(label) * 2 >= len(images):
            known = frozenset(label.values())
            more = {name: _said(pattern, name) for name in others}
            found.label = {name: said for name, said in more.items() if said in known} | label
            return found
    return None


def _said(pattern: re.Pattern[str], name: str) -> str:
    match = pattern.match(name.rpartition("/")[2].rpartition(".")[0])
    return match[1].strip(" ._-()") if match else ""


def _of_kind(kind: list[Table], wanted: str | None) -> list[Labelling]:
    found: list[Labelling] = []
    refused: list[DataError] = []
    for column in _columns(kind):
        if wanted is not None and wanted != column and heading(wanted) != heading(column):
            continue
        if wanted not in (None, column) and wanted in _columns(kind):
            continue
        sure = any(is_label(column, table.columns) for table in kind)
        there = [table for table in kind if _at(table, column) is not None]
        if wanted is None and not sure and is_other(column):
            continue
        try:
            label = _pooled(there, column)
        except DataError as error:
            if sure or wanted is not None:
                raise
            refused.append(error)
            continue
        named = len({name for table in there for name in table.images if name is not None})
        if wanted is None and (why := _no_classes(label, named, sure)):
            if sure and why != "empty":
                refused.append(DataError(f"the column {column!r} of {there[0].name} {why}"))
            continue
        files = ", ".join(table.name for table in there)
        value = f"{there[0].name}:{column}"
        said = Labelling(value, label, f"from the column {column!r} of {files}", sure)
        said.only = len(_columns(kind, free=True)) == 1
        found.append(said)
    if wanted in (None, "columns") and (one_hot := _one_hots(kind)) is not None:
        binary = {f"{kind[0].name}:{column}" for column in set(one_hot.label.values())}
        found = [one_hot, *(each for each in found if each.value not in binary)]
    if refused and not any(each.sure for each in found):
        raise DataError(
            str(refused[0]),
            hint=refused[0].hint
            or f"Say which column it is, labels_from: '{kind[0].name}:column'. {LAYOUT}",
        )
    return _joined([each for each in found if each.sure]) + [e for e in found if not e.sure]


def _columns(kind: Sequence[Table], *, free: bool = False) -> list[str]:
    """The headings of tables of one kind beside those that name images, each once; `free` leaves
    out those whose heading says that they are no classes."""
    found: dict[str, str] = {}
    for table in kind:
        for index, column in enumerate(table.columns):
            if index != table.key and not (free and is_other(column)):
                found.setdefault(alike(column), column)
    return list(found.values())


def _at(table: Table, column: str) -> int | None:
    """Where a table has a column."""
    heads = [alike(head) for head in table.columns]
    at = heads.index(alike(column)) if alike(column) in heads else None
    return None if at == table.key else at


def two_classes(name: str, one: str, where: str, two: str, there: str) -> DataError:
    """The refusal of an image that tables give two classes."""
    places = f"in {where}" if where == there else f"in {where} and in {there}"
    return DataError(
        f"{name[:500]} has two classes, {one[:60]!r} and {two[:60]!r}, {places}",
        hint="Leave one row for each image, with its one class.",
    )


def _pooled(kind: Sequence[Table], column: str) -> dict[str, str]:
    """The values of a column in tables of one kind by image. Raises DataError where an image has
    two: as what it is, if these are the boxes of object detection."""
    label: dict[str, str] = {}
    where: dict[str, str] = {}
    for table in kind:
        at = _at(table, column)
        for name, value in table.values(at) if at is not None else ():
            value = _WHOLE.sub(r"\1", value)
            if label.setdefault(name, value) != value:
                if told := boxes(table.columns):
                    raise DataError(
                        f"{table.name} is for object detection: {name[:500]} is in several rows, "
                        f"each with a box ({', '.join(told[:4])}) and a class, and there is no "
                        "class for a whole image (label)",
                        hint="Cut the objects out, and sort them into a folder for each class. "
                        f"{LAYOUT}",
                    )
                there = f"{table.name}:{column}"
                raise two_classes(name, label[name], where[name], value, there)
            where.setdefault(name, f"{table.name}:{column}")
    return label


def _no_classes(label: Mapping[str, str], named: int, sure: bool) -> str:
    """Why the values of a column are no classes, in words; "" if they may be."""
    distinct = set(label.values())
    if not distinct or (len(label) < 0.99 * named and not sure):
        return "empty"
    if len(distinct) < 2:
        return f"holds 1 class only, {min(distinct)[:100]!r}"
    if len(distinct) > max(2, len(label) / 2):
        return f"holds {len(distinct):,} different values for {len(label):,} images"
    if any(len(value) > 100 for value in distinct):
        return "holds long texts, and no classes"
    if all(map(is_number, distinct)) and not all(map(_is_whole, distinct)):
        return f"holds numbers such as {next(v for v in distinct if not _is_whole(v))}, no classes"
    return ""


def _joined(sure: list[Labelling]) -> list[Labelling]:
    """Columns that are named as classes are, one of training and the other of other images, as
    one. Raises DataError where they say different classes."""
    if len(sure) < 2 or any(not a.label.keys().isdisjoint(b.label) for a, b in pairwise(sure)):
        return sure
    first, *others = sure
    known = set(first.label.values())
    for other in others:
        if not set(other.label.values()) <= known:
            raise DataError(
                f"{first.value} and {other.value} label different images by different classes, "
                f"such as {min(known)[:60]!r} and {min(set(other.label.values()) - known)[:60]!r}",
                hint="Give the columns of classes in all tables one heading and the same classes.",
            )
        first.label = first.label | other.label
        first.why += f", {other.why}"
    return [first]


def is_number(value: str) -> bool:
    """Whether a value of a table is a number."""
    try:
        float(value)
    except ValueError:
        return False
    return True


def _is_whole(value: str) -> bool:
    return is_number(value) and float(value).is_integer()


def _one_hots(kind: Sequence[Table]) -> Labelling | None:
    """Classes that have a column each, in all tables of a kind that are so."""
    found = [(table, each) for table in kind if (each := _one_hot(table)) is not None]
    if not found:
        return None
    label: dict[str, str] = {}
    for table, each in found:
        for name, value in each.label.items():
            if label.setdefault(name, value) != value:
                raise two_classes(name, label[name], found[0][0].name, value, table.name)
    files = ", ".join(table.name for table, _ in found)
    first = found[0][0].name
    return Labelling(f"{first}:columns", label, f"from the columns of {files}", sure=True)


def _one_hot(table: Table) -> Labelling | None:
    """Classes that have a column each, with 1 in that of the class."""
    binary = {}
    for index in range(len(table.columns)):
        other = index == table.key or flag_of(table.columns[index]) is not None
        values = {} if other else table.column(index)
        if values and all(is_number(v) and float(v) in (0, 1) for v in set(values.values())):
            binary[index] = {name for name, value in values.items() if float(value) == 1}
    if len(binary) < 2:
        return None
    label: dict[str, str] = {}
    for index, names in binary.items():
        if any(name in label for name in names):
            return None
        label |= dict.fromkeys(names, table.columns[index])
    if len(label) < table.named:
        return None
    return Labelling(f"{table.name}:columns", label, f"from the columns of {table.name}", sure=True)


def _distinct(found: list[Labelling]) -> list[Labelling]:
    """Of labellings that say the same by other names, the one in words."""
    kept: list[Labelling] = []
    for each in found:
        for index, other in enumerate(kept):
            if _same_classes(each, other):
                numbers = all(map(is_number, other.label.values()))
                if numbers and not all(map(is_number, each.label.values())):
                    each.sure = each.sure or other.sure
                    kept[index] = each
                else:
                    other.sure = each.sure or other.sure
                break
        else:
            kept.append(each)
    return kept


def _same_classes(one: Labelling, other: Labelling) -> bool:
    if one.label.keys() != other.label.keys():
        return False
    pairs = {(one.label[name], other.label[name]) for name in one.label}
    return len(pairs) == len(set(one.label.values())) == len(set(other.label.values()))
