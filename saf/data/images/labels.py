"""Classes of images that no folder names: from a table beside them, or from their own names."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from saf.data.images.table import Table, heading
from saf.data.images.words import Role, alike, role_of

LABELS = frozenset(
    {"label", "labels", "class", "classes", "classname", "classid", "classlabel", "labelname"}
    | {"category", "categoryname", "categoryid", "target", "y", "breed", "species", "diagnosis"}
    | {"variety", "disease", "gt", "groundtruth", "truth", "classification", "tag", "dx"}
)
"""Headings, without what stands between words, of columns that hold classes."""
_SPLITS = frozenset(
    {"split", "set", "subset", "dataset", "partition", "phase", "usage", "datatype", "fold"}
)
_OTHERS = _SPLITS | frozenset(
    {
        "width",
        "height",
        "w",
        "h",
        "x",
        "y1",
        "x1",
        "x2",
        "y2",
        "xmin",
        "xmax",
        "ymin",
        "ymax",
        "url",
    }
    | {"roix1", "roiy1", "roix2", "roiy2", "kfold", "index", "id", "size", "channels", "depth"}
)
MANY = 20
"""Numbers up to which a column without a telling heading is taken for classes unasked."""
_ROLE_ORDER: dict[Role | None, int] = {"train": 0, None: 1, "val": 2, "test": 3}
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
    roles: dict[str, Role] = field(default_factory=dict)
    """The split of each image, where the table says it."""

    @property
    def plain(self) -> bool:
        """Whether the values look like classes: neither several in one, as "clear|primary", nor,
        under a heading that says nothing, many numbers, as of ages."""
        values = set(self.label.values())
        if not self.sure and len(values) > MANY and all(map(_is_number, values)):
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
    are one; `column` names the only one that is wanted."""
    kinds: dict[tuple[object, ...], list[Table]] = defaultdict(list)
    for table in tables:
        kinds[(table.core, len(table.columns), table.columns[table.key])].append(table)
    found = []
    for kind in kinds.values():
        kind = sorted(kind, key=lambda table: (_ROLE_ORDER[table.role], table.name))
        found += _of_kind(kind, column)
    sure = [each for each in found if each.sure]
    return sure if len(sure) == 1 and column is None else found


def of_known(tables: Sequence[Table], images: Collection[str], known: Iterable[str]) -> Labelling:
    """The labels of images by classes that are known: of each table the column that names them in
    its first word, for nearly all of its images."""
    classes = {alike(name): name for name in known}
    wanted = frozenset(images)
    label: dict[str, str] = {}
    names = []
    for table in tables:
        best: dict[str, str] = {}
        for column in range(len(table.columns)):
            if column == table.key:
                continue
            values = {n: v for n, v in table.column(column).items() if n in wanted}
            hits = {}
            for name, value in values.items():
                said = classes.get(alike(value)) or classes.get(alike(value.split()[0]))
                if said is not None:
                    hits[name] = said
            if len(hits) >= 0.95 * len(values) and len(hits) > len(best):
                best = hits
        if best:
            label |= {name: said for name, said in best.items() if name not in label}
            names.append(table.name)
    return Labelling(names[0] if names else "", label, f"from {', '.join(names)}")


def of_names(images: Collection[str]) -> Labelling | None:
    """Classes from the names of files: what stands before a number, or behind one."""
    for pattern, where in ((_BEFORE, "before"), (_AFTER, "behind")):
        label = {}
        for name in images:
            match = pattern.match(name.rpartition("/")[2].rpartition(".")[0])
            if match:
                label[name] = match[1].strip(" ._-()")
        found = Labelling("names", label, f"from what stands {where} the number in file names")
        if 2 <= len(found.counts()) <= len(label) / 2 and len(label) * 2 >= len(images):
            return found
    return None


def _of_kind(kind: list[Table], wanted: str | None) -> list[Labelling]:
    first = kind[0]
    found = []
    roles = _roles(kind)
    for index, column in enumerate(first.columns):
        if index == first.key or (wanted is not None and heading(column) != heading(wanted)):
            continue
        values = first.column(index)
        if wanted is None and not _may_be_classes(column, values, first.named):
            continue
        label = {name: value for table in reversed(kind) for name, value in _same(table, column)}
        files = ", ".join(table.name for table in kind)
        said = Labelling(f"{first.name}:{column}", label, f"from the column {column!r} of {files}")
        said.sure, said.roles = heading(column) in LABELS, roles
        found.append(said)
    if wanted in (None, "columns") and (one_hot := _one_hot(first)) is not None:
        one_hot.roles = roles
        binary = {f"{first.name}:{column}" for column in set(one_hot.label.values())}
        found = [one_hot, *(each for each in found if each.value not in binary)]
    return _distinct(found)


def _same(table: Table, column: str) -> Iterable[tuple[str, str]]:
    return table.column(table.columns.index(column)).items() if column in table.columns else ()


def _may_be_classes(column: str, values: dict[str, str], named: int) -> bool:
    distinct = set(values.values())
    if heading(column) in _OTHERS or len(values) < 0.99 * named:
        return False
    if not 2 <= len(distinct) <= max(2, named / 2):
        return False
    if any(len(value) > 100 for value in distinct):
        return False
    return all(_is_whole(value) for value in distinct) or not all(map(_is_number, distinct))


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _is_whole(value: str) -> bool:
    return _is_number(value) and float(value).is_integer()


def _one_hot(table: Table) -> Labelling | None:
    """Classes that have a column each, with 1 in that of the class."""
    binary = {}
    for index in range(len(table.columns)):
        values = {} if index == table.key else table.column(index)
        if values and all(_is_number(v) and float(v) in (0, 1) for v in set(values.values())):
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
                numbers = all(map(_is_number, other.label.values()))
                if numbers and not all(map(_is_number, each.label.values())):
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


def _roles(kind: list[Table]) -> dict[str, Role]:
    """The split of each image, from a column that says nothing else or the names of tables."""
    for table in kind:
        for index, column in enumerate(table.columns):
            if index == table.key or heading(column) not in _SPLITS:
                continue
            values = table.column(index)
            said = {value: role_of(value)[0] for value in set(values.values())}
            if values and all(said.values()) and len(set(said.values())) > 1:
                roles = {name: said[value] for name, value in values.items()}
                return {name: role for name, role in roles.items() if role is not None}
    named = {table.role for table in kind}
    if len(named) > 1 and None not in named:
        found: dict[str, Role] = {}
        for table in kind:
            for name in table.images:
                if name is not None and table.role is not None:
                    found.setdefault(name, table.role)
        return found
    return {}
