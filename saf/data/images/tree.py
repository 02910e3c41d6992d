"""The folders that images lie in: which are wrappers, which are splits, which are classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from saf.data.images.doubts import note_doubts
from saf.data.images.words import (
    GENERIC,
    NO_CLASSES,
    Role,
    alike,
    is_no_class,
    is_part,
    joined,
    plain_role,
    roles_of,
)
from saf.errors import DataError

LAYOUT = (
    "Arrange the images as train/<class>/*.png and test/<class>/*.png, or as <class>/*.png "
    "to have a fifth of each class held out for testing."
)


@dataclass
class Node:
    """A folder."""

    path: str = ""
    files: list[str] = field(default_factory=list)
    """Images that lie in it, by their whole names."""
    folders: dict[str, Node] = field(default_factory=dict)

    def all_files(self) -> Iterator[str]:
        """The images in it and below."""
        yield from (file for file, _ in self.all_places())

    def all_places(self) -> Iterator[tuple[str, str]]:
        """The images in it and below, each with the folder that it lies in."""
        own = self.path.rstrip("/").rpartition("/")[2]
        yield from ((file, own) for file in self.files)
        for folder in self.folders.values():
            yield from folder.all_places()


@dataclass
class Structure:
    """What the folders say of images."""

    samples: dict[str, tuple[Role | None, str, str]] = field(default_factory=dict)
    """Split, class and the name below the split, of each image that has a class."""
    unlabelled: dict[str, Role | None] = field(default_factory=dict)
    """Images in no folder of a class, each with its split."""
    strays: dict[str, str] = field(default_factory=dict)
    """Images that are no samples, each with the reason."""
    doubts: str = ""
    """Why the folders may be no classes, in words."""
    deep: bool = False
    """Whether folders of classes hold folders that may be the classes."""
    splits: bool = False
    """Whether folders say the split."""
    odd: tuple[str, ...] = ()
    """Folders beside those of classes that are named as none is."""
    told: list[str] = field(default_factory=list)
    """What else was decided, in words."""

    @property
    def classes(self) -> set[str]:
        """The classes that the folders say."""
        return {class_name for _, class_name, _ in self.samples.values()}

    @property
    def may_be_classes(self) -> bool:
        """Whether these are two or more, and not all named as no classes are."""
        names = self.classes
        none = all(map(is_no_class, names)) or roles_of(names).keys() == names
        return len(names) > 1 and not none


def tree(images: Iterable[str], shown: Mapping[str, str] | None = None) -> Node:
    """The folders of images; of those in `shown`, that of the path there."""
    root = Node()
    for name in images:
        node = root
        *folders, _ = (shown or {}).get(name, name).split("/")
        for folder in folders:
            path = f"{node.path}{folder}/"
            node = node.folders.setdefault(folder, Node(path))
        node.files.append(name)
    return root


def structure(root: Node, *, innermost: bool, total: int, without: Iterable[str] = ()) -> Structure:
    """What the folders say: `train/<class>/…`, `<class>/…` or `<class>/train/…`, below any number
    of wrappers. `innermost` takes the innermost folders for the classes; the classes `without` are
    left out. Raises DataError where the folders contradict one another."""
    found = Structure()
    node = _unwrapped(root, found, total)
    roles = roles_of(node.folders)
    if _is_split_level(node, roles, total):
        _read_splits(node, roles, found, innermost, total)
    elif _is_class_first(node):
        _read_class_first(node, found, innermost, total)
    else:
        _read_classes(node, found, None, innermost)
        for file in node.files:
            found.unlabelled[file] = None
        note_doubts(node, found)
    if node.files and found.samples and not found.doubts:
        _put_aside(node.files, found, total)
    _leave_out(found, {alike(name) for name in without})
    return found


def _leave_out(found: Structure, without: set[str]) -> None:
    """Leave out the classes that the owner said are none."""
    known = {alike(name) for _, name, _ in found.samples.values()}
    if missing := without - known:
        raise DataError(f"there is no folder {min(missing)[:100]!r} to leave out", hint=LAYOUT)
    for file, (_, name, _) in list(found.samples.items()):
        if alike(name) in without:
            del found.samples[file]
            found.strays[file] = f"the folder {name} is none of a class, as was said"


def _few(count: int, total: int) -> bool:
    return count <= max(5, total // 50)


def _unwrapped(root: Node, found: Structure, total: int) -> Node:
    """The folder that holds more than one folder with images, or no other."""
    node = root
    while len(node.folders) == 1 and _few(len(node.files), total):
        (inner,) = node.folders.values()
        if not inner.folders:
            break
        own = plain_role(inner.path.rstrip("/").rpartition("/")[2])
        if own in ("val", "test") and "train" not in roles_of(inner.folders).values():
            raise DataError(f"{inner.path} is all there is, and no train folder", hint=LAYOUT)
        _put_aside(node.files, found, total)
        node = inner
    return node


def _put_aside(files: list[str], found: Structure, total: int) -> None:
    if not _few(len(files), total):
        raise DataError(
            f"{len(files):,} images, such as {files[0]}, lie beside the folders of classes",
            hint=f"Move them into the folders of their classes, or leave them out. {LAYOUT}",
        )
    for file in files:
        found.unlabelled.pop(file, None)
        found.strays[file] = "it lies beside the folders of classes"


def _is_split_level(node: Node, roles: dict[str, Role], total: int) -> bool:
    """Whether the folders in this one are splits, of which at least one holds folders. Beside
    `train` alone there may be a few images that are no samples."""
    if not any(node.folders[name].folders for name in roles):
        return False
    if len(roles) == len(node.folders) or len(set(roles.values())) > 1:
        return True
    others = [folder for name, folder in node.folders.items() if name not in roles]
    count = sum(len(folder.files) for folder in others)
    return _few(count, total) and not any(folder.folders for folder in others)


def _is_class_first(node: Node) -> bool:
    """Whether most folders hold folders of splits."""
    if len(node.folders) < 2 or roles_of(node.folders).keys() == node.folders.keys():
        return False
    roles = [set(roles_of(folder.folders).values()) for folder in node.folders.values()]
    both = [each for each in roles if "train" in each and len(each) > 1]
    return len(both) * 2 >= len(node.folders)


def _read_class_first(node: Node, found: Structure, innermost: bool, total: int) -> None:
    """`<class>/train/…` and `<class>/test/…`; a few images that lie elsewhere are no samples."""
    found.splits = True
    if any(joined(name) in GENERIC or is_part(name) for name in node.folders):
        note_doubts(node, found)
    aside: list[str] = []
    for name, folder in node.folders.items():
        roles = roles_of(folder.folders)
        aside += folder.files
        count = len(list(folder.all_files()))
        if not roles and count > 1:
            raise DataError(
                f"{folder.path} holds {count:,} images and no folders for training and testing, "
                "as the folders of classes beside it do",
                hint=f"Put its images into such folders, or leave it out. {LAYOUT}",
            )
        for inner, below in folder.folders.items():
            if inner not in roles:
                aside += below.all_files()
                continue
            found.deep |= bool(below.folders)
            for file, own in below.all_places():
                class_name = own if innermost else name
                found.samples[file] = (roles[inner], class_name, _below(file, node))
    if not _few(len(aside), total):
        raise DataError(
            f"{len(aside):,} images, such as {aside[0]}, lie in folders of classes but in none of "
            "the folders for training and testing inside them",
            hint=f"Move them into one of these folders, or leave them out. {LAYOUT}",
        )
    why = "it lies in no folder for training or testing, as others of its class do"
    found.strays |= dict.fromkeys(aside, why)


def _read_splits(
    node: Node, roles: dict[str, Role], found: Structure, innermost: bool, total: int
) -> None:
    found.splits = True
    _one_of_each(node, roles)
    train = [name for name, role in roles.items() if role == "train"]
    if not train:
        raise DataError(
            f"there is no train folder beside {', '.join(sorted(node.folders))}", hint=LAYOUT
        )
    trained: set[str] = set()
    for name in sorted(roles, key=lambda name: roles[name] != "train"):  # training first
        split = _below_generic(node.folders[name], trained)
        labelled = bool(split.folders)
        if labelled and roles[name] != "train" and not innermost:
            labelled = any(alike(each) in trained for each in split.folders)
        if not labelled:
            known = [each for each in sorted(split.folders) if not _says_nothing(each)]
            if known:
                raise untrained(f"{split.path}{known[0]}", known[0])
            found.unlabelled |= dict.fromkeys(split.all_files(), roles[name])
            continue
        if split.files:
            _put_aside(split.files, found, total)
        if roles[name] == "train":
            trained |= {alike(each) for each in split.folders}
            note_doubts(split, found)
        _read_classes(split, found, roles[name], innermost)
    if not found.samples:
        listed = ", ".join(node.folders[name].path for name in sorted(roles))
        found.doubts = f"no folder in {listed[:300]} says a class"
    if any(plain_role(name) is None for name in roles):
        words = {"train": "training", "val": "validation", "test": "testing"}
        said = (f"{name} is for {words[role]}" for name, role in sorted(roles.items()))
        found.told.append(", ".join(said))
    for name, folder in node.folders.items():
        if name not in roles:
            _put_aside_folder(folder, found, trained, sorted(roles))


def _put_aside_folder(folder: Node, found: Structure, trained: set[str], splits: list[str]) -> None:
    """A folder beside splits is no sample, unless it holds classes."""
    inner = folder
    while len(inner.folders) == 1:
        if trained & set(map(alike, inner.folders)):
            break
        (inner,) = inner.folders.values()
    files = list(folder.all_files())
    if len(inner.folders) > 1 or trained & set(map(alike, inner.folders)):
        raise DataError(
            f"{folder.path} is no split as {', '.join(splits)} beside it are; it holds "
            f"{len(files):,} images in folders of classes",
            hint=f"Move its images into the splits, or leave it out. {LAYOUT}",
        )
    found.strays |= dict.fromkeys(files, f"{folder.path} is no split as its neighbours are")


def _one_of_each(node: Node, roles: dict[str, Role]) -> None:
    """Raise where two folders are the same split; of `test` and `test-multiple_sizes`, the plain
    one is taken and the other is no split."""
    for role in sorted(set(roles.values())):
        named = [name for name, each in roles.items() if each == role]
        plain = [name for name in named if len(joined(name)) == min(map(len, map(joined, named)))]
        if len(named) > 1 and len(plain) == 1 and alike(plain[0]) in ("train", "test", "val"):
            for name in named:
                if name != plain[0] and not node.folders[name].folders:
                    del roles[name]
                    named = [each for each in named if each != name]
        if len(named) > 1:
            purpose = {"train": "training", "val": "validation", "test": "testing"}[role]
            if role == "val" and "test" not in roles.values():
                purpose = "testing"
            raise DataError(
                f"there are the folders {', '.join(sorted(node.folders))}: which of "
                f"{', '.join(sorted(named))} is for {purpose}?",
                hint="Leave at most one folder for each of training, validation and testing; "
                "merge the others or leave them out.",
            )


def _below_generic(node: Node, trained: set[str]) -> Node:
    """The folder that holds those of classes: `images` in `train/images/<class>`, `train` in
    `train/train/<class>`."""
    while len(node.folders) == 1 and not node.files:
        ((name, inner),) = node.folders.items()
        own = node.path.rstrip("/").rpartition("/")[2]
        known = joined(name) in GENERIC or alike(name) == alike(own)
        if not known or alike(name) in trained:
            break
        node = inner
    return node


def untrained(place: str, class_name: str) -> DataError:
    """The refusal of a class that has test samples alone."""
    return DataError(
        f"{place[:1000]}: the class {class_name[:100]!r} is tested but has no training images",
        hint="Give the splits the same folders of classes.",
    )


def _says_nothing(name: str) -> bool:
    return is_no_class(name) or alike(name) in ("unknown", "unclassified", "all_classes", "0")


def _below(file: str, node: Node) -> str:
    return file.removeprefix(node.path)


def _read_classes(node: Node, found: Structure, role: Role | None, innermost: bool) -> None:
    """The folders of a node are classes; those below them belong to them, unless `innermost`."""
    for name, folder in node.folders.items():
        if alike(name) in NO_CLASSES and len(node.folders) > 2:
            why = f"{folder.path} is no class of this published set"
            found.strays |= dict.fromkeys(folder.all_files(), why)
            continue
        for file, own in folder.all_places():
            class_name = own if innermost else name
            found.samples[file] = (role, class_name, _below(file, node))
    if role in (None, "train"):
        found.deep |= _is_deep(node)


def _is_deep(node: Node) -> bool:
    """Whether the folders inside those of classes may be the classes: not where most classes hold
    images themselves, and not where each holds the same single folder, or one such as `images`,
    and no further folders below it."""
    if len(node.folders) < 2:
        return any(inner.folders for inner in node.folders.values())
    deep = [folder for folder in node.folders.values() if folder.folders]
    direct = len(node.folders) - sum(not _holds_images(folder) for folder in deep)
    if not deep or direct * 2 >= len(node.folders):
        return False
    inner = {alike(name) for folder in deep for name in folder.folders}
    only_one = all(len(folder.folders) == 1 for folder in deep) and len(inner) == 1
    generic = all(joined(name) in GENERIC for folder in deep for name in folder.folders)
    if not (only_one or generic):
        return True
    below = [each for folder in deep for each in folder.folders.values()]
    return sum(len(each.folders) > 1 for each in below) * 2 >= len(below)


def _holds_images(folder: Node) -> bool:
    """Whether a folder holds images itself, and not just a few beside those in its folders."""
    return len(folder.files) * 2 > sum(1 for _ in folder.all_files()) - len(folder.files)
