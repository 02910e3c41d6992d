"""Tables of pixels as text: Kaggle's digit recogniser, Fashion-MNIST and FER2013 as `.csv`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np

from saf.data.arrays.assemble import ArrayFormat, assemble
from saf.data.arrays.names import ALL, Roles, is_labels, split_of
from saf.data.arrays.stored.array import InMemory
from saf.data.arrays.stored.columns import HEAD, Columns, columns_of
from saf.data.arrays.stored.joined import Rows
from saf.data.arrays.stored.table import Table, one_column, read_table, texts_of
from saf.data.dataset import Array, Dataset, Decision
from saf.data.formats.format import (
    FORMATS,
    Candidate,
    NeedsChoiceError,
    Question,
    Recognised,
)
from saf.data.sources.limits import Limits
from saf.data.sources.source import Source
from saf.errors import DataError

SUFFIXES = (".csv", ".tsv", ".txt", ".data", ".csv.gz", ".tsv.gz", ".tra", ".tes")
_MOST_COLUMNS = 40  # that may be labels
_MOST_FILES = 8
_NAME_THEM = "Name the column of labels 'label', or say labels_from = its name."
_SPLITS = {
    "train": "training train learn",
    "val": "publictest val valid validation dev",
    "test": "privatetest test testing",
}


@FORMATS.add
class CsvPixels(ArrayFormat):
    """A table with a sample a line: a label and the pixels, `label,pixel0,pixel1,…`, with names of
    columns or without; or a column `pixels` with spaces, and perhaps one that tells the split, as
    FER2013 has them; or four features and more, in columns with names of their own, beside one that
    is named as labels are. `train.csv` and `test.csv` are splits; a `test.csv` without labels is
    left out."""

    label: ClassVar[str] = "a .csv of pixels"
    place: ClassVar[int] = 46
    specificity: ClassVar[int] = 12
    packed: ClassVar[bool] = False

    name: Literal["csv"] = "csv"

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        return Recognised() if _tables(source, None) else None

    @classmethod
    def claims(cls, name: str) -> bool:
        return name.lower().endswith((".csv.gz", ".tsv.gz"))

    def read(self, source: Source, limits: Limits) -> Dataset:
        roles, told, skipped = Roles(), [], []
        first: Columns | None = None
        tables = _tables(source, self.labels_from)
        for name in sorted(tables, key=lambda name: split_of(name) in ("test", "val")):
            columns = tables[name]
            if self.split is not None:
                columns = replace(columns, split=None)
            beside = None if columns.label is not None else _labels_beside(source, name)
            if beside is not None:
                split = split_of(name)
                table = read_table(source, name, replace(columns, ends=()))
                _one_of_each(roles, name, split)
                roles.samples[split], roles.labels[split] = table.pixels, beside
                why = f"{name} has no column of labels, and {beside.name} lies beside it"
                told.append(Decision("labels_from", beside.name, why))
                continue
            chosen = _with_label(source, name, columns)
            if chosen is None:
                skipped.append(f"{name}: no column of labels")
                continue
            told += _told(name, chosen)
            ordered = chosen.by_number()
            if ordered.pixels != chosen.pixels:
                first_few = ", ".join(ordered.title(column) for column in ordered.pixels[:3])
                why = f"{name} has them in the order of texts, as 'pixel10' before 'pixel2'"
                told.append(Decision("", f"pixels by number: {first_few}, …", why))
            chosen = _in_order(ordered, first)
            first = first or chosen
            _add(roles, name, read_table(source, name, chosen), chosen)
        if not roles.samples:
            for name, columns in tables.items():
                if fit := _may_be_labels(source, name, columns):
                    raise _which(source, name, columns, fit)
            why = "; ".join(f"{name}: {_described(each)}" for name, each in tables.items())
            if not tables:
                raise DataError(f"{source.label} holds no table with labels", hint=_NAME_THEM)
            raise DataError(
                f"{source.label} holds pixels without labels ({why[:1000]})", hint=_NAME_THEM
            )
        _only_train(roles)
        layout = None
        if first is not None and first.are_features:
            layout = "N C"
            told.append(Decision("layout", layout, "columns with names of their own are features"))
        return assemble(roles, self, source, layout=layout, decisions=told, skipped=skipped)


def _tables(source: Source, labels_from: str | None) -> dict[str, Columns]:
    """The tables of pixels among the files, by name."""
    names = [m.name for m in source.members if m.name.lower().endswith(SUFFIXES)]
    if source.single:
        names = [source.label]
    if not 0 < len(names) <= _MOST_FILES:
        return {}
    alone = source.single or len(names) == len(source.members)  # not beside images, as their labels
    found: dict[str, Columns] = {}
    unplaced: DataError | None = None
    placed = False
    for name in names:
        head = source.head(name, HEAD)
        if head.startswith(b"\x1f\x8b"):
            head = _gunzipped(head)
        columns = columns_of(head, features=alone)
        if labels_from is not None:  # of another column than names tell, too
            try:
                columns = columns_of(head, labels_from, features=alone) or columns
                placed = True
            except DataError as error:
                unplaced = error
        if columns is not None:
            found[name] = columns
    if unplaced is not None and not placed:
        raise unplaced
    return found


def _gunzipped(head: bytes) -> bytes:
    import zlib

    try:
        return zlib.decompressobj(31).decompress(head, HEAD)
    except zlib.error:
        return b""


def _with_label(source: Source, name: str, columns: Columns) -> Columns | None:
    """The columns with that of the labels, which values tell where names do not. Raises
    NeedsChoiceError where they do not either."""
    if columns.label is not None:
        return columns
    if columns.names is not None:
        return None
    fit = _may_be_labels(source, name, columns)
    if not fit:
        return None
    if len(fit) > 1:
        raise _which(source, name, columns, fit)
    (label,) = fit
    pixels = tuple(column for column in columns.pixels if column != label)
    return replace(columns, label=label, pixels=pixels, ends=())


def _described(columns: Columns) -> str:
    """Why a table has no column of labels."""
    if columns.names is None:
        return "no column of labels"
    listed = ", ".join(repr(name) for name in columns.names[:4])
    more = f", … {columns.names[-1]!r}" if len(columns.names) > 4 else ""
    return f"none of its columns {listed}{more} is named as labels are"


def _may_be_labels(source: Source, name: str, columns: Columns) -> dict[int, Array]:
    """The columns, of those that may be labels, whose values are such."""
    if not columns.ends:
        return {}
    found = texts_of(source, name, columns, columns.ends[:_MOST_COLUMNS])
    fit = {column: values for column, values in found.items() if _are_labels(values)}
    texts = {column: values for column, values in fit.items() if column not in columns.pixels}
    return texts or fit  # texts are no pixels


def _which(
    source: Source, name: str, columns: Columns, fit: Mapping[int, Array]
) -> NeedsChoiceError:
    """The question which column holds the labels."""
    ways = []
    for column, values in fit.items():
        different = [str(value)[:20] for value in np.unique(values)[:6]]
        value = str(column + 1) if columns.names is None else columns.names[column]
        means = f"{columns.title(column)} holds the labels {', '.join(different)}"
        ways.append(Candidate(value, means + (", …" if len(np.unique(values)) > 6 else "")))
    ends = set(fit) == {0, columns.width - 1}
    which = ", the first or the last?" if ends else ", of these?" if len(fit) > 1 else "?"
    asks = f"Which column of {name} holds the labels{which}"
    return NeedsChoiceError(source.label, (Question("labels_from", asks, tuple(ways)),))


def _in_order(columns: Columns, first: Columns | None) -> Columns:
    """The pixels of a table in the order in which the first table has them, by their names."""
    if first is None or first.names is None or columns.names is None:
        return columns
    wanted = [first.names[column] for column in first.pixels]
    place = {columns.names[column]: column for column in columns.pixels}
    if len(place) != len(wanted) or set(place) != set(wanted):
        return columns
    return replace(columns, pixels=tuple(place[name] for name in wanted))


def _are_labels(values: Array) -> bool:
    different = np.unique(values)
    whole = values.dtype.kind != "f" or bool((different == np.rint(different)).all())
    return whole and 2 <= len(different) <= max(2, min(1000, len(values) // 2))


def _told(name: str, columns: Columns) -> list[Decision]:
    told = []
    if columns.names is None:
        assert columns.label is not None
        value = columns.title(columns.label)
        told.append(Decision("labels_from", value, f"{name} has no names of columns"))
        if columns.skip_first:
            told.append(Decision("", f"left out: line 1 of {name}", f"it is {columns.skip_first}"))
    if columns.left:
        listed = ", ".join(columns.left[:20]) + (", …" if len(columns.left) > 20 else "")
        why = f"no label, split or pixels of {name}"
        if columns.are_features:
            why = "texts, row numbers and folds are no features: write a category as a number"
        told.append(Decision("", f"left out: {listed}", why))
    if columns.split is not None:
        value = columns.title(columns.split)
        told.append(Decision("split", value, f"it names the split of each line of {name}"))
    return told


def _add(roles: Roles, name: str, table: Table, columns: Columns) -> None:
    assert table.labels is not None
    assert columns.label is not None
    title = f"{name}, {columns.title(columns.label)}"
    if table.splits is None:
        split = split_of(name)
        _one_of_each(roles, name, split)
        roles.samples[split] = table.pixels
        roles.labels[split] = InMemory(title, table.labels)
        return
    for split, words in _SPLITS.items():
        rows = np.flatnonzero([each.lower() in words.split() for each in table.splits])
        if len(rows):
            roles.samples[split] = Rows(table.pixels, rows)
            roles.labels[split] = InMemory(title, table.labels[rows])
    known = {word for words in _SPLITS.values() for word in words.split()}
    for each in dict.fromkeys(table.splits.tolist()):
        if each.lower() not in known:
            raise DataError(
                f"{name} names the split {each[:40]!r} in {columns.title(columns.split or 0)}",
                hint="Use train, val and test (or Training, PublicTest, PrivateTest), or say "
                "split = 'holdout' to do without the column.",
            )


def _one_of_each(roles: Roles, name: str, split: str) -> None:
    if split in roles.samples:
        raise DataError(
            f"there are two tables for {'all samples' if split == ALL else split}: "
            f"{roles.samples[split].name} and {name}",
            hint="Send one of them, or name them train.csv and test.csv.",
        )


def _labels_beside(source: Source, name: str) -> InMemory | None:
    """The labels in a file of one column, `y_train.txt`, of the samples in `X_train.txt`."""
    for member in source.members:
        other = member.name
        is_text = other.lower().endswith(SUFFIXES) and is_labels(other)
        if is_text and not is_labels(name) and split_of(other) == split_of(name):
            return one_column(source, other)
    return None


def _only_train(roles: Roles) -> None:
    if ALL in roles.samples and len(roles.samples) > 1:
        for part in (roles.samples, roles.labels):
            if "train" in part:
                part.pop(ALL)
            else:
                part["train"] = part.pop(ALL)
