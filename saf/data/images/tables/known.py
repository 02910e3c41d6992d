"""Classes of images that lie in no folder of a class, where other folders say which there are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from saf.data.images.tables.columns import heading, is_label, is_of_persons, is_other
from saf.data.images.tables.labels import Labelling, is_number, two_classes
from saf.data.images.tables.table import Table
from saf.data.images.words import alike
from saf.errors import DataError

_FEW = 10
"""Images up to which one number for all of them is believed to be their class."""
_DIGITS = re.compile(r"\d{1,15}")


def of_known(
    tables: Sequence[Table],
    images: Collection[str],
    known: Iterable[str],
    trained: Sequence[Table] = (),
    class_of: Mapping[str, str] | None = None,
) -> Labelling:
    """The labels of images by classes that are known, from the columns that name these in their
    first word: those that are named as classes are, else words, else numbers.

    `trained` are tables that name images whose class is known, which `class_of` says: a column
    that says others of them holds no classes. Raises DataError where columns of one table say
    different classes, or where one that is named as classes are contradicts `class_of`.
    """
    classes = _Known(known)
    wanted = frozenset(images)
    label: dict[str, str] = {}
    where: dict[str, str] = {}
    for table in tables:
        best = _known_column(table, wanted, classes, trained, class_of or {})
        if best is None:
            continue
        column, hits = best
        said = f"{table.name}:{table.columns[column]}"
        for name, class_name in hits.items():
            if label.setdefault(name, class_name) != class_name:
                raise two_classes(name, label[name], where[name], class_name, said)
            where.setdefault(name, said)
    used = list(dict.fromkeys(where.values()))
    return Labelling(used[0] if used else "", label, f"from {', '.join(used)}")


class _Known:
    """Classes that are known, found by what tables call them: by name, or as a number."""

    def __init__(self, names: Iterable[str]) -> None:
        self._by_name = {alike(name): name for name in names}
        numbers = Counter(int(n) for n in self._by_name if _DIGITS.fullmatch(n))
        self._by_number = {
            int(key): name
            for key, name in self._by_name.items()
            if _DIGITS.fullmatch(key) and numbers[int(key)] == 1
        }

    def find(self, value: str) -> str | None:
        """The class that a value names, whole or by its first word."""
        for said in (alike(value), alike(value.split()[0])):
            if said in self._by_name:
                return self._by_name[said]
        digits = re.fullmatch(r"(\d{1,15})(?:\.0*)?", value)
        return self._by_number.get(int(digits[1])) if digits else None


def _known_column(
    table: Table,
    wanted: frozenset[str],
    classes: _Known,
    trained: Sequence[Table],
    class_of: Mapping[str, str],
) -> tuple[int, dict[str, str]] | None:
    """The column of a table that says known classes of images, and these."""
    fits: dict[int, dict[str, str]] = {}
    ranks: dict[int, int] = {}
    others = 0  # columns that could mean anything
    for index, column in enumerate(table.columns):
        sure = is_label(column, table.columns)
        if index == table.key or (not sure and is_other(column)):
            continue
        others += not sure
        if not sure and is_of_persons(column):
            continue
        values = [(name, value) for name, value in table.values(index) if name in wanted]
        hits: dict[str, str] = {}
        clash: DataError | None = None
        for name, value in values:
            said = classes.find(value)
            if said is not None and hits.setdefault(name, said) != said:
                place = f"{table.name}:{column}"
                clash = clash or two_classes(name, hits[name], place, said, place)
        strange = [value for _, value in values if classes.find(value) is None]
        numbers = all(is_number(value) for _, value in values)
        if not values or len(strange) > 0.05 * len(values):
            continue
        if strange and numbers:  # of classes that are counted from elsewhere most fit, too
            if sure:
                raise DataError(
                    f"{table.name}: the column {column!r} says {min(strange)[:60]!r}, and no "
                    "folder of training images is named so",
                    hint="Name the classes in the table as the folders, or leave the table out.",
                )
            continue
        if clash is not None and sure:
            raise clash
        constant = len({value for _, value in values}) == 1 < len(values)
        right, wrong = _agreement(column, trained, classes, class_of)
        if wrong * 20 > right + wrong:
            if sure:
                raise DataError(
                    f"{table.name}: the column {column!r} says other classes of training images "
                    "than the folders that these lie in",
                    hint="Remove the table, or name the folders as it names the classes.",
                )
            continue
        placeholder = constant and numbers and (not sure or len(values) >= _FEW)
        if clash is not None or placeholder:
            continue
        fits[index] = hits
        ranks[index] = 3 if sure else 2 if right else 1 if not numbers else 0
    if not fits:
        return None
    best = [index for index in fits if ranks[index] == max(ranks.values())]
    heads = [table.columns[index] for index in best]
    unclear = max(ranks.values()) == 0 and not heads[0].isdigit() and others > 1
    if unclear or any(fits[index] != fits[best[0]] for index in best):
        listed = " or ".join(repr(head) for head in heads[:6])
        raise DataError(
            f"which column of {table.name} holds the classes of the images that lie in no folder "
            f"of a class? {listed} could",
            hint="Name the column that holds the classes 'label', or remove the others.",
        )
    return best[0], fits[best[0]]


def _agreement(
    column: str, trained: Sequence[Table], classes: _Known, class_of: Mapping[str, str]
) -> tuple[int, int]:
    """Of how many training images a column says the class that is known, and another one."""
    right = wrong = 0
    for table in trained:
        same = [i for i, head in enumerate(table.columns) if heading(head) == heading(column)]
        if not same or same[0] == table.key or column.isdigit():
            continue
        for name, value in table.values(same[0]):
            if name in class_of:
                agrees = classes.find(value) == class_of[name]
                right, wrong = right + agrees, wrong + (not agrees)
    return right, wrong
