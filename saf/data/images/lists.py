"""Published splits: lists of training and test images in text files beside folders of classes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from saf.data.images.table import Table, heading
from saf.data.images.words import Role, role_of, tokens
from saf.data.sources.source import Source

_UNREAD = (".mat", ".json", ".pkl", ".pickle", ".npy", ".h5", ".yaml", ".yml", ".xml")
_WORDS = frozenset({"split", "splits", "setid", "train", "test", "val", "trainval"})
_COLUMNS = frozenset({"split", "set", "subset", "dataset", "partition", "phase", "usage", "fold"})


@dataclass(frozen=True)
class Published:
    """One published split."""

    value: str
    """What `split` is for it: the name of a file."""
    roles: dict[str, Role]
    """The split of each image; those that are not listed are in none."""
    why: str


def published(tables: Sequence[Table], images: Collection[str]) -> list[Published]:
    """The splits that tables publish: files named train and test, a column, or CUB's numbers."""
    found = [each for each in map(_of_column, tables) if each is not None]
    kinds: dict[tuple[object, ...], dict[Role, Table]] = defaultdict(dict)
    for table in tables:
        role = table.role
        if role is not None:
            there = kinds[table.core].get(role)
            if there is None or table.named < there.named:  # train rather than trainval
                kinds[table.core][role] = table
    for kind in kinds.values():
        roles: dict[str, Role] = {}
        for role, table in sorted(kind.items(), key=lambda pair: pair[0] == "train"):
            roles |= {name: role for name in table.images if name is not None and name not in roles}
        if "train" not in kind:  # as in Speech Commands: what is not listed is trained on
            roles |= {name: "train" for name in images if name not in roles}
        if len(set(roles.values())) > 1 and _covers(roles, images):
            names = ", ".join(sorted(table.name for table in kind.values()))
            first = kind.get("train") or next(iter(kind.values()))
            found.append(Published(first.name, roles, f"listed by {names}"))
    return found


def numbered(source: Source, tables: Sequence[Table]) -> Published | None:
    """The split of CUB-200: images.txt numbers the images, train_test_split.txt says 1 for those
    that are trained on."""
    images = next((t for t in tables if t.name.rpartition("/")[2] == "images.txt"), None)
    if images is None or len(images.columns) < 2 or images.key == 0:
        return None
    names = [m.name for m in source.members if m.name.endswith("train_test_split.txt")]
    for content in source.contents(frozenset(names[:1])):
        said = {}
        for line in content.read_whole(2**24).decode("utf-8", "replace").splitlines():
            parts = line.split()
            if len(parts) == 2 and parts[1] in ("0", "1"):
                said[parts[0]] = parts[1]
        roles: dict[str, Role] = {}
        for name, row in zip(images.images, images.rows, strict=True):
            if name is not None and row[0] in said:
                roles[name] = "train" if said[row[0]] == "1" else "test"
        if len(set(roles.values())) > 1:
            return Published(content.name, roles, f"listed by {content.name}")
    return None


def unread_lists(source: Source) -> list[str]:
    """Files that may hold a published split and are of a kind that is not read here."""
    return [
        member.name
        for member in source.members
        if member.name.lower().endswith(_UNREAD)
        and set(tokens(member.name.rpartition("/")[2].rpartition(".")[0])) & _WORDS
    ]


def _covers(roles: dict[str, Role], images: Collection[str]) -> bool:
    wanted = frozenset(images)
    return sum(name in wanted for name in roles) >= 0.5 * len(wanted)


def _of_column(table: Table) -> Published | None:
    for index, column in enumerate(table.columns):
        if index == table.key or heading(column) not in _COLUMNS:
            continue
        values = table.column(index)
        said = {value: role_of(value)[0] for value in set(values.values())}
        if all(said.values()) and len(set(said.values())) > 1:
            roles = {n: r for n, v in values.items() if (r := said[v]) is not None}
            return Published(table.name, roles, f"in the column {column!r} of {table.name}")
    return None
