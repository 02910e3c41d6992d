"""Published splits: lists of training and test images in text files beside folders of classes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from saf.data.images.tables.columns import FOLDS, SPLITS, flag_of, heading
from saf.data.images.tables.table import Table
from saf.data.images.words import Role, plain_role, role_of, tokens
from saf.data.sources.source import Source

_UNREAD = (".mat", ".json", ".pkl", ".pickle", ".npy", ".h5", ".yaml", ".yml", ".xml")
_WORDS = frozenset({"split", "splits", "setid", "train", "test", "val", "trainval"})
_MOST_FOLDS = 20


@dataclass(frozen=True)
class Published:
    """One published split."""

    value: str
    """What `split` is for it: the name of a file, perhaps with a column and a value."""
    roles: dict[str, Role]
    """The split of each image; those that are not listed are in none."""
    why: str
    listed: dict[str, Role]
    """The split of those that are listed themselves, and not by being missing elsewhere."""
    sure: bool = True
    """Whether it can be taken unasked: it lists most images, and says which are for testing."""

    def words(self) -> str:
        """How many images are in each split, and who says so."""
        return f"{counted(self.roles)}, {self.why}"

    def contradicts(self, roles: Mapping[str, Role | None]) -> str:
        """An image that it tests on and `roles` train on, or the reverse; "" if there is none."""
        for name, role in self.listed.items():
            if {role, roles.get(name)} == {"train", "test"}:
                return name
        return ""


def counted(roles: Mapping[str, Role | None]) -> str:
    """How many images are in each split, in words."""
    counts = Counter(roles.values())
    order: tuple[Role, ...] = ("train", "val", "test")
    return ", ".join(f"{counts[role]:,} {role}" for role in order if counts[role])


def published(tables: Sequence[Table], images: Collection[str]) -> list[Published]:
    """The splits that tables publish: files named train and test, columns, those of folds."""
    found = [each for table in tables for each in _of_table(table, images)]
    kinds: dict[tuple[object, ...], dict[Role, Table]] = defaultdict(dict)
    for table in tables:
        role = table.role
        if role is not None:
            there = kinds[table.core].get(role)
            if there is None or table.named < there.named:  # train rather than trainval
                kinds[table.core][role] = table
    for core, kind in kinds.items():
        if len(kind) == 1 and any(not str(word).isdigit() for word in core):
            continue  # "test_tubes.csv" alone is no list of test images
        listed, twice = _listed(kind)
        names = ", ".join(sorted(table.name for table in kind.values()))
        first = kind.get("train") or next(iter(kind.values()))
        others: Role = "test" if set(kind) == {"train"} else "train"
        if set(kind) <= {"test", "val"} or set(kind) == {"train"}:
            # As in Speech Commands: what is not listed for testing is trained on.
            roles = listed | {name: others for name in images if name not in listed}
            why = f"listed by {names}, and all others are for {others}ing{twice}"
        else:
            roles, why = listed, f"listed by {names}{twice}"
        if len(set(roles.values())) > 1:
            sure = _covers(roles, images) and set(kind) != {"train"}
            found.append(Published(first.name, roles, why, listed, sure))
    return distinct(found)


def _listed(kind: Mapping[Role, Table]) -> tuple[dict[str, Role], str]:
    """The split of each image that tables of one kind list, and words for those in several."""
    listed: dict[str, Role] = {}
    twice = []
    for role, table in sorted(kind.items(), key=lambda pair: pair[0] == "train"):
        for name in dict.fromkeys(table.images):
            if name is not None and listed.setdefault(name, role) != role:
                twice.append(name)
    if not twice:
        return listed, ""
    return listed, (
        f"; {len(set(twice)):,} images, such as {min(twice)}, are listed for training, too, and "
        "are not trained on"
    )


def distinct(found: Sequence[Published]) -> list[Published]:
    """The first of those that say the same splits."""
    kept: list[Published] = []
    for each in found:
        if not any(each.roles == other.roles for other in kept):
            kept.append(each)
    return kept


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
            return Published(content.name, roles, f"listed by {content.name}", roles)
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


def _of_table(table: Table, images: Collection[str]) -> list[Published]:
    found = of_columns(table, images)
    return [replace(found[0], value=table.name)] if len(found) == 1 else found


def of_columns(table: Table, images: Collection[str]) -> list[Published]:
    """The splits that columns of a table say: by words, by CelebA's numbers, by columns such as
    `is_test`; or one for each fold, of which none is sure."""
    found = []
    told: dict[Role, dict[str, bool]] = {}
    for index, column in enumerate(table.columns):
        if index == table.key:
            continue
        values = table.column(index)
        if (flag := flag_of(column)) is not None and (truths := _truths(values)):
            told[flag] = truths
        elif heading(column) in SPLITS or _is_partition(table):
            found += _of_values(table, column, values, images)
    if told:
        roles: dict[str, Role] = {}
        order: tuple[Role, ...] = ("test", "val", "train")
        for role in order:
            roles |= {n: role for n, true in told.get(role, {}).items() if true and n not in roles}
        rest: Role = "test" if set(told) == {"train"} else "train"
        for truths in told.values():
            roles |= {name: rest for name in truths if name not in roles}
        if len(set(roles.values())) > 1:
            why = f"by the columns of {table.name} that say so"
            value = f"{table.name}:columns"
            found.append(Published(value, roles, why, roles, _covers(roles, images)))
    return distinct(found)


def _of_values(
    table: Table, column: str, values: Mapping[str, str], images: Collection[str]
) -> list[Published]:
    distinct = sorted(set(values.values()))
    said = {value: plain_role(value) for value in distinct}
    if len(set(said.values()) - {None}) < 2 and all(role_of(value)[0] for value in distinct):
        said = {value: role_of(value)[0] for value in distinct}
    why = f"in the column {column!r} of {table.name}"
    if len(set(said.values()) - {None}) < 2 and set(distinct) == {"0", "1", "2"}:
        counts = Counter(values.values())
        if counts["0"] >= max(counts["1"], counts["2"]) and heading(column) not in FOLDS:
            said = {"0": "train", "1": "val", "2": "test"}
            why += ": 0 is train, 1 is val and 2 is test, as in CelebA"
    if len(set(said.values()) - {None}) > 1:
        roles = {n: r for n, v in values.items() if (r := said[v]) is not None}
        value = f"{table.name}:{column}"
        return [Published(value, roles, why, roles, _covers(roles, images))]
    if heading(column) not in FOLDS | {"split", "partition"} and not _is_partition(table):
        return []
    if not 2 <= len(distinct) <= _MOST_FOLDS:
        return []
    found = []
    for value in distinct:
        roles = {name: "test" if each == value else "train" for name, each in values.items()}
        words = f"{value!r} {why} is for testing"
        found.append(Published(f"{table.name}:{column}={value}", roles, words, roles, sure=False))
    return found


def _is_partition(table: Table) -> bool:
    """Whether a table without headings, such as list_eval_partition.txt, says the split alone."""
    stem = table.name.rpartition("/")[2].rpartition(".")[0]
    names = set(tokens(stem)) & {"partition", "partitions", "split", "splits"}
    return bool(names) and len(table.columns) == 2 and table.columns == ("1", "2")


def _truths(values: Mapping[str, str]) -> dict[str, bool]:
    """Truth values by image; none if any value is none."""
    truth = {"1": True, "true": True, "yes": True, "t": True, "y": True, "1.0": True}
    truth |= {"0": False, "false": False, "no": False, "f": False, "n": False, "0.0": False}
    if not all(value.lower() in truth for value in values.values()):
        return {}
    return {name: truth[value.lower()] for name, value in values.items()}
