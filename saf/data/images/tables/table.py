"""Tables in text files beside images: CSV, TSV, lists, JSON lines; and which images they name."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from saf.data.images.decode import is_image_name
from saf.data.images.tables.class_lists import is_class_list
from saf.data.images.tables.columns import is_label, key_rank, without_twins
from saf.data.images.tables.faults import several_images, shifted
from saf.data.images.tables.index import Index
from saf.data.images.tables.json_rows import of_json_lines, of_whole_json
from saf.data.images.words import MASKS, Role, composed, joined, plain_role, role_of
from saf.data.sources.limits import MIB, LimitError
from saf.data.sources.source import Source
from saf.errors import DataError
from saf.sizes import readable

SUFFIXES = (".csv", ".tsv", ".txt", ".lst", ".jsonl", ".json", ".names")
MAX_TABLE = 16 * MIB
MAX_TABLES = 2000
MAX_TEXT = 64 * MIB
"""Bytes of all texts together that are looked at for tables."""
_EMPTY = frozenset({"nan", "<na>", "#n/a"})
_PREAMBLE = re.compile(r"\A(?:(?:sep=|#[^\n,;\t|]*$)[^\n]*\n)+", re.MULTILINE)
"""Lines before a table: comments, and what tells Excel how columns are divided."""
_TRIED = 200  # rows that tell which column names the images


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
    fault: DataError | None = None
    """Why the images that it names cannot be told for sure."""

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

    def values(self, index: int) -> Iterator[tuple[str, str]]:
        """Image and value of each row in a column; empty ones are left out, also as pandas has
        them."""
        for name, row in zip(self.images, self.rows, strict=True):
            value = row[index].strip() if index < len(row) else ""
            if name is not None and value and value.lower() not in _EMPTY:
                yield name, value

    def column(self, index: int) -> dict[str, str]:
        """The values of a column by image: of several rows of an image, that of the first."""
        found: dict[str, str] = {}
        for name, value in self.values(index):
            found.setdefault(name, value)
        return found


class Texts:
    """The text files of a source that may hold tables, read once."""

    def __init__(self, source: Source, images: Index) -> None:
        self.unread: dict[str, str] = {}
        """Files that may hold a table and are not used, each with the reason."""
        self.faulty: list[Table] = []
        """Of the last call of `tables`, those that do not say for sure which images they name."""
        self._source = source
        names = []
        for member in source.members:
            last = member.name.rpartition("/")[2]
            if last.lower().endswith(SUFFIXES) and "submission" not in last.lower():
                role = role_of(last.rpartition(".")[0])[0]
                # Files of one image each, as object detection has them, are no tables.
                if images.find(last.rpartition(".")[0], member.name, role) is None:
                    names.append(member)
        names.sort(key=lambda member: (member.name.count("/"), member.name))
        total, chosen = 0, []
        for count, member in enumerate(names):
            if member.size > MAX_TABLE:
                self.unread[member.name] = f"it is larger than {readable(MAX_TABLE)}"
            elif count >= MAX_TABLES or total + member.size > MAX_TEXT:
                self.unread[member.name] = (
                    f"no more than {MAX_TABLES:,} text files of {readable(MAX_TEXT)} are looked at"
                )
            else:
                total += member.size
                chosen.append(member.name)
        self._texts: dict[str, str] = {}
        for content in source.contents(frozenset(chosen)):
            try:
                self._texts[content.name] = _text(content.read_whole(MAX_TABLE))
            except LimitError:
                raise
            except DataError as error:
                self.unread[content.name] = str(error)

    def tables(self, index: Index) -> list[Table]:
        """All tables that name images for sure. What is to be handed in is left out."""
        found: list[Table] = []
        self.faulty = []
        for name, text in self._texts.items():
            try:
                table = _parsed(name, text, index)
            except DataError as error:
                self.unread[name] = str(error)
                continue
            if table is not None:
                (found if table.fault is None else self.faulty).append(table)
        return sorted(found, key=lambda table: (table.name.count("/"), table.name))

    def class_lists(self, index: Index) -> dict[str, str]:
        """The texts that are named as lists of classes are and name no images, by file."""
        found = {}
        for name, text in self._texts.items():
            if is_class_list(name):
                try:
                    labels = _parsed(name, text, index) is not None
                except DataError:
                    labels = True  # told in `unread`
                if not labels:
                    found[name] = text
        return found

    def strangers(self, index: Index) -> dict[str, str]:
        """Files that look as tables of labels do and name no image, each with words."""
        found = {}
        for name, text in self._texts.items():
            try:
                ways = [] if _parsed(name, text, index) is not None else rows_of(name, text)
            except DataError:
                continue  # told in `unread`
            for heads, rows in ways[:1]:
                said = [cell.strip() for cell in (heads or rows[0])]
                if len(rows) < 2 or not any(is_label(c, said) or key_rank(c) == 3 for c in said):
                    continue
                row = ", ".join(cell.strip()[:40] for cell in rows[0 if heads else 1][:4])
                found[name] = f"it names no image that is here: its first row is {row!r}"
        return found

    def only(self, wanted: str, index: Index) -> list[Table]:
        """The tables of the files of a name, whatever it is. Raises DataError, also where one does
        not say for sure which images it names."""
        wanted = composed(wanted)
        names = [
            member.name
            for member in self._source.members
            if wanted in (said := composed(member.name), said.rpartition("/")[2])
        ]
        found = []
        for content in self._source.contents(frozenset(names)):
            text = _text(content.read_whole(MAX_TABLE))
            if (table := _parsed(content.name, text, index)) is not None:
                if table.fault is not None:
                    raise table.fault
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
    if name.lower().endswith(".json"):
        return of_whole_json(text)
    text = _PREAMBLE.sub("", text.replace("\r\n", "\n"))
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return []
    if name.lower().endswith(".jsonl"):
        return of_json_lines(lines)
    if name.lower().endswith((".txt", ".lst")) and not re.search(r"[,;\t|]", lines[0]):
        whole = [[line.strip()] for line in lines]  # names may hold spaces
        return [(None, whole), (None, [line.split() for line in lines])]
    mark = max("\t,;|", key=lines[0].count)
    try:
        limit = csv.field_size_limit(MAX_TABLE)
        try:
            return [(None, [row for row in csv.reader(io.StringIO(text), delimiter=mark) if row])]
        finally:
            csv.field_size_limit(limit)
    except csv.Error as error:
        raise DataError(f"{name} is no table: {error}", hint="Save it as CSV again.") from error


def _parsed(name: str, text: str, index: Index) -> Table | None:
    role = role_of(name.rpartition("/")[2].rpartition(".")[0])[0]
    for heads, rows in rows_of(name, text):
        if len(rows) < 2:
            continue
        width = min(max(map(len, rows[:_TRIED])), 300)
        first = [cell.strip() for cell in rows[0][:width]]
        said = heads or (*first, *(str(number + 1) for number in range(len(first), width)))
        key = _key(name, rows, said, index, role)
        if key is None:
            for other in _rerooted(rows):
                if (key := _key(name, other, said, index, role)) is not None:
                    rows = other
                    break
            else:
                continue
        if heads is None:
            if len(rows[0]) > key and index.all(rows[0][key], name, role):
                said = tuple(str(number + 1) for number in range(width))
            else:
                rows = rows[1:]
        images = [index.find(row[key], name, role) if len(row) > key else None for row in rows]
        named = [row[key].strip() if len(row) > key else "" for row in rows]
        fault = several_images(name, named, role, index) or shifted(name, named, images, index)
        return Table(name, without_twins(said), rows, images, key, fault)
    return None


def _key(
    name: str, rows: list[list[str]], heads: Sequence[str], index: Index, role: Role | None
) -> int | None:
    """The column that names images in most rows: of several, one that has names of image files,
    then one whose heading says so. None if there is none. Raises DataError where two such columns
    name different images."""
    step = max(1, (len(rows) - 1) // _TRIED)
    tried = rows[1::step][:_TRIED]

    def named(column: int) -> list[str | None]:
        cells = (row[column] if len(row) > column else "" for row in tried)
        return [index.find(cell, name, role) for cell in cells]

    ranks: dict[int, tuple[bool, int]] = {}
    unsure: dict[int, tuple[bool, int]] = {}  # of columns that name several images in a row
    elsewhere = -1  # how plainly a column names files that are not here
    hits = {}
    for column in range(len(heads)):
        cells = [row[column].strip() for row in tried if len(row) > column and row[column].strip()]
        as_files = sum(is_image_name(cell) and "://" not in cell for cell in cells)
        masks = joined(heads[column]) in MASKS or is_label(heads[column], heads)
        rank = (
            0 < len(cells) <= as_files * 2 and not masks,
            0 if masks else key_rank(heads[column]),
        )
        hits[column] = sum(image is not None for image in named(column))
        if hits[column] * 2 >= len(tried) or (
            hits[column] and _covers(rows, column, name, role, index)
        ):
            ranks[column] = rank
        elif max(rank) and sum(bool(index.all(cell, name, role)) for cell in cells) * 2 >= len(
            tried
        ):
            unsure[column] = rank
        elif rank[0]:
            elsewhere = max(elsewhere, rank[1])
    if elsewhere >= 0 and not any(as_files for as_files, _ in ranks.values()):
        # Beside names of files that are not here, the number of a row is no name.
        weak = 3 if elsewhere == 3 else 1
        ranks = {column: rank for column, rank in ranks.items() if rank[1] >= weak}
    ranks = ranks or {at: rank for at, rank in unsure.items() if rank[0] or rank[1] >= 2}
    if not ranks:
        return None
    best = [column for column in ranks if ranks[column] == max(ranks.values())]
    key = max(best, key=lambda column: (hits[column], -column))
    for other in best:
        for one, two in zip(named(key), named(other), strict=True):
            if one is not None and two is not None and one != two:
                columns = " and ".join(repr(heads[each]) for each in sorted((key, other)))
                raise DataError(
                    f"the columns {columns} of {name} name different images in one row",
                    hint="Leave the column that names the images, and remove the other.",
                )
    return key


def _rerooted(rows: list[list[str]]) -> Iterator[list[list[str]]]:
    """Rows whose paths begin later: without the folders, of another machine, that all paths of a
    column have in common, as far as these say no split."""
    for column in range(min(max(map(len, rows[:_TRIED])), 20)):
        cells = [row[column].strip() if len(row) > column else "" for row in rows[1:]]
        paths = [cell.replace("\\", "/").split("/") for cell in cells if cell]
        if not all(len(path) > 1 for path in paths) or any("://" in cell for cell in cells):
            continue
        common = [parts[0] for parts in zip(*paths, strict=False) if len(set(parts)) == 1]
        for count, folder in enumerate(common, 1):
            same = all(path[:count] == common[:count] and len(path) > count for path in paths)
            if not same or plain_role(folder) is not None:
                break
            yield [
                [
                    "/".join(cell.strip().replace("\\", "/").split("/")[count:])
                    if at == column
                    and cell.strip().replace("\\", "/").split("/")[:count] == common[:count]
                    else cell
                    for at, cell in enumerate(row)
                ]
                for row in rows
            ]


def _covers(rows: list[list[str]], key: int, name: str, role: Role | None, index: Index) -> bool:
    """Whether a table of which few rows name images names nearly all images all the same."""
    if len(rows) < index.count:
        return False
    named = {index.find(row[key], name, role) for row in rows if len(row) > key} - {None}
    return len(named) >= 0.9 * index.count
