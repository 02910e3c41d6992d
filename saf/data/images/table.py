"""Tables in text files beside images: CSV, TSV, lists, JSON lines; and which images they name."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from saf.data.images.decode import is_image_name
from saf.data.images.words import Role, alike, role_of, roles_of
from saf.data.sources.limits import MIB, LimitError
from saf.data.sources.source import Source
from saf.errors import DataError

SUFFIXES = (".csv", ".tsv", ".txt", ".lst", ".jsonl")
MAX_TABLE = 16 * MIB
MAX_TABLES = 60
_TRIED = 200  # rows that tell which column names the images


class Index:
    """Finds images by what tables call them: a path or its end, with or without the ending."""

    def __init__(self, images: Iterable[str]) -> None:
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        self.count = 0
        for name in images:
            self._by_stem[_stem(name.rpartition("/")[2])].append(name)
            self.count += 1

    def find(self, said: str, table: str, role: Role | None) -> str | None:
        """The image that `said` names; of several, that which lies below the folder of the table,
        or in the split that the table's name says. None if there is none, or more than one."""
        path = said.strip().strip("'\"").replace("\\", "/").removeprefix("./").lstrip("/")
        if not path or len(path) > 1024:
            return None
        *folders, last = path.split("/")
        found = self._by_stem.get(_stem(last), [])
        if folders:
            end = "/".join(["", *folders, ""]).casefold()
            found = [n for n in found if ("/" + n.casefold()).rpartition("/")[0].endswith(end[:-1])]
        if len(found) > 1 and is_image_name(last):
            found = [n for n in found if n.rpartition("/")[2] == last] or found
        if len(found) > 1:
            beside = table.rpartition("/")[0]
            found = [n for n in found if beside and n.startswith(beside + "/")] or found
        if len(found) > 1 and role is not None:
            found = [n for n in found if role in path_roles(n)]
        return found[0] if len(found) == 1 else None


def path_roles(name: str) -> set[Role]:
    """The splits that the folders of an image say."""
    said = (roles_of([part]).get(part) for part in name.split("/")[:-1])
    return {role for role in said if role is not None}


def _stem(last: str) -> str:
    return (last.rpartition(".")[0] if is_image_name(last) else last).casefold()


@dataclass
class Table:
    """A table whose rows name images."""

    name: str
    columns: tuple[str, ...]
    """Their headings; numbers from 1 where there are none."""
    rows: list[list[str]]
    images: list[str | None]
    """The image that each row names."""
    key: int
    """The column that names it."""

    @property
    def role(self) -> Role | None:
        """The split that the table's name says."""
        return role_of(self.name.rpartition("/")[2].rpartition(".")[0])[0]

    @property
    def core(self) -> tuple[str, ...]:
        """What else its name says, with numbers: tables of one kind have the same."""
        stem = self.name.rpartition("/")[2].rpartition(".")[0]
        numbers = tuple(re.findall(r"\d+", stem))
        return (*role_of(stem)[1], *numbers)

    @cached_property
    def named(self) -> int:
        """How many images it names."""
        return len({name for name in self.images if name is not None})

    def column(self, index: int) -> dict[str, str]:
        """The values of a column by image; empty ones are left out."""
        return {
            name: row[index].strip()
            for name, row in zip(self.images, self.rows, strict=True)
            if name is not None and index < len(row) and row[index].strip()
        }


def tables(source: Source, index: Index, only: str | None = None) -> list[Table]:
    """All tables that name images; or the file `only`, whatever it is called. Files of one image
    each, as object detection has them, and what is to be handed in are left out."""
    names = []
    for member in source.members:
        last = member.name.rpartition("/")[2]
        if only is not None:
            if member.name == only or last == only:
                names.append(member.name)
        elif last.lower().endswith(SUFFIXES) and "submission" not in last.lower():
            role = role_of(last.rpartition(".")[0])[0]
            if index.find(last.rpartition(".")[0], member.name, role) is None:
                names.append(member.name)
    names = sorted(names, key=lambda name: (name.count("/"), name))[:MAX_TABLES]
    found = []
    for content in source.contents(frozenset(names)):
        try:
            text = _text(content.read_whole(MAX_TABLE))
        except LimitError:
            raise
        except DataError:
            if only is not None:
                raise
            continue  # too large or damaged: no table that labels images
        if (table := _parsed(content.name, text, index)) is not None:
            found.append(table)
    return sorted(found, key=lambda table: (table.name.count("/"), table.name))


def _text(blob: bytes) -> str:
    if blob.startswith((b"\xff\xfe", b"\xfe\xff")):
        return blob.decode("utf-16", "replace")
    try:
        return blob.decode("utf-8-sig")
    except UnicodeDecodeError:
        return blob.decode("cp1252", "replace")


def rows_of(name: str, text: str) -> list[tuple[tuple[str, ...] | None, list[list[str]]]]:
    """The ways to read a text as rows; with headings where they are sure."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return []
    if name.lower().endswith(".jsonl"):
        return _of_json(lines)
    if name.lower().endswith((".txt", ".lst")) and not re.search(r"[,;\t|]", lines[0]):
        whole = [[line.strip()] for line in lines]  # names may hold spaces
        return [(None, whole), (None, [line.split() for line in lines])]
    mark = max("\t,;|", key=lines[0].count)
    try:
        limit = csv.field_size_limit(MIB)
        try:
            return [(None, [row for row in csv.reader(io.StringIO(text), delimiter=mark) if row])]
        finally:
            csv.field_size_limit(limit)
    except csv.Error:
        return []


def _of_json(lines: Sequence[str]) -> list[tuple[tuple[str, ...] | None, list[list[str]]]]:
    try:
        entries = [json.loads(line) for line in lines]
    except (ValueError, RecursionError):
        return []
    if not all(isinstance(entry, dict) for entry in entries):
        return []
    columns = tuple(dict.fromkeys(key for entry in entries for key in entry))
    plain = (str, int, float, bool)
    rows = [
        [str(entry[key]) if isinstance(entry.get(key), plain) else "" for key in columns]
        for entry in entries
    ]
    return [(columns, rows)]


def _parsed(name: str, text: str, index: Index) -> Table | None:
    role = role_of(name.rpartition("/")[2].rpartition(".")[0])[0]
    for heads, rows in rows_of(name, text):
        if len(rows) < 2:
            continue
        width = min(max(map(len, rows[:_TRIED])), 300)
        step = max(1, (len(rows) - 1) // _TRIED)
        tried = rows[1::step][:_TRIED]
        hits = [
            sum(len(row) > c and index.find(row[c], name, role) is not None for row in tried)
            for c in range(width)
        ]
        key = max(range(width), key=lambda c: (hits[c], -c))
        if hits[key] * 2 < len(tried) and not _covers(rows, key, name, role, index):
            continue
        if heads is None:
            first = rows[0]
            if len(first) > key and index.find(first[key], name, role) is not None:
                heads = tuple(str(number + 1) for number in range(width))
            else:
                said = [cell.strip() for cell in first[:width]]
                heads = (*said, *(str(number + 1) for number in range(len(said), width)))
                rows = rows[1:]
        images = [index.find(row[key], name, role) if len(row) > key else None for row in rows]
        return Table(name, heads, rows, images, key)
    return None


def _covers(rows: list[list[str]], key: int, name: str, role: Role | None, index: Index) -> bool:
    """Whether a table of which few rows name images names nearly all images all the same."""
    if len(rows) < index.count:
        return False
    named = {index.find(row[key], name, role) for row in rows if len(row) > key} - {None}
    return len(named) >= 0.9 * index.count


def heading(column: str) -> str:
    """A heading as it is compared."""
    return re.sub(r"[\W_]+", "", alike(column))
