"""Folders of folds: several splits of the same images, or the parts of a cross-validation.

`fold_1/train/<class>`, `fold_1/test/<class>`, `fold_2/train/<class>`, … and `train_1/<class>`,
`test_1/<class>`, `train_2/<class>`, … hold each image several times: what one fold trains on,
another tests on. `fold_1/<class>`, `fold_2/<class>`, … hold it
once, and each fold is tested on by what the others teach.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from saf.data.formats.format import Candidate, NeedsChoiceError, Question
from saf.data.images.places import Told
from saf.data.images.repeats import equal
from saf.data.images.tables.lists import Published, counted
from saf.data.images.words import Role, alike, composed, is_fold, numbered_role, roles_of
from saf.data.sources.source import Source
from saf.errors import DataError


@dataclass(frozen=True)
class Folds:
    """The fold of each image."""

    of: dict[str, str]
    """The folder of a fold that each image lies in."""
    shown: dict[str, str]
    """The path of each image without that folder."""
    roles: dict[str, Role | None]
    """The split that the other folders of its path say."""
    same: str = ""
    """Two files of one image that two folds have in different splits, if names do not say folds."""

    @property
    def names(self) -> list[str]:
        """The folds, in order."""
        return sorted(set(self.of.values()), key=lambda name: (len(name), name))

    @property
    def whole(self) -> bool:
        """Whether each fold has images for training and for testing."""
        said: dict[str, set[Role | None]] = defaultdict(set)
        for name, fold in self.of.items():
            said[fold].add(self.roles[name])
        return all("train" in roles and roles & {"test", "val"} for roles in said.values())

    def only(self, fold: str) -> list[str]:
        """The images of one fold."""
        return [name for name, own in self.of.items() if own == fold]

    def published(self) -> list[Published]:
        """For each fold the split that tests on it."""
        found = []
        for fold in self.names:
            roles: dict[str, Role] = {
                name: "test" if own == fold else "train" for name, own in self.of.items()
            }
            why = f"the folder {fold} is for testing"
            found.append(Published(fold, roles, why, roles, sure=False))
        return found


def folds_of(source: Source, sizes: Mapping[str, int], images: Collection[str]) -> Folds | None:
    """The folds that folders say, by their names, or by images that lie in training folders of one
    and in test folders of another. None if there are none. `sizes` are bytes by name."""
    paths = {name: name.split("/")[:-1] for name in images}
    if (numbered := _numbered(paths)) is not None:
        return _of_same_images(source, sizes, numbered)
    at = {}
    for folder in {tuple(path) for path in paths.values()}:
        at[folder] = next((i for i, each in enumerate(folder) if is_fold(each)), None)
    named = {name: i for name, path in paths.items() if (i := at[tuple(path)]) is not None}
    if len(images) - len(named) <= max(5, len(images) // 50):
        found = _divided({name: (paths[name], i) for name, i in named.items()})
        if len(found.names) > 1 and (found.whole or not any(found.roles.values())):
            _check_parts(source, sizes, found)
            return found
        return None
    top = next(
        (i for i, parts in enumerate(zip(*paths.values(), strict=False)) if len(set(parts)) > 1), 0
    )
    deep = {name: path for name, path in paths.items() if len(path) > top + 1}
    if len(deep) < len(images):
        return None
    found = _divided({name: (path, top) for name, path in deep.items()})
    if not 1 < len(found.names) <= 100 or not found.whole:
        return None
    return _of_same_images(source, sizes, found)


def _of_same_images(source: Source, sizes: Mapping[str, int], found: Folds) -> Folds | None:
    """The folds with two files of one image; None if there are none, and they are other parts."""
    twins = equal(source, _pairs(sizes, found))
    if not twins:
        return None
    one, other = min(twins.items())
    return replace(found, same=f"{other} is {one}")


def _numbered(paths: Mapping[str, list[str]]) -> Folds | None:
    """The folds of splits with numbers, `train_1`, `test_1`, `train_2`, …, each named as its
    training folder is. None unless all images lie in such, and each number has both."""
    top = next(
        (i for i, parts in enumerate(zip(*paths.values(), strict=False)) if len(set(parts)) > 1), 0
    )
    if not all(len(path) > top for path in paths.values()):
        return None
    known = {folder: numbered_role(folder) for folder in {path[top] for path in paths.values()}}
    splits = {folder: found for folder, found in known.items() if found is not None}
    training = {number: name for name, (role, number) in splits.items() if role == "train"}
    tested = {number for role, number in splits.values() if role != "train"}
    if len(splits) < max(4, len(known)) or training.keys() != tested:
        return None
    if len(set(splits.values())) < len(splits):
        return None  # train_1 and Train1
    of = {name: training[splits[path[top]][1]] for name, path in paths.items()}
    roles: dict[str, Role | None] = {n: splits[path[top]][0] for n, path in paths.items()}
    return Folds(of, {name: name for name in paths}, roles)


def _divided(places: Mapping[str, tuple[list[str], int]]) -> Folds:
    """Folds by the place of their folder in the path of each image."""
    known: dict[str, str] = {}
    said: dict[str, Role | None] = {}
    of, shown, roles = {}, {}, {}
    for name, (path, at) in places.items():
        of[name] = known.setdefault(alike(path[at]), path[at])
        rest = [*path[:at], *path[at + 1 :]]
        for part in rest:
            if part not in said:
                said[part] = roles_of([part]).get(part)
        shown[name] = "/".join((*rest, name.rpartition("/")[2]))
        roles[name] = next((role for part in rest if (role := said[part]) is not None), None)
    return Folds(of, shown, roles)


def _pairs(sizes: Mapping[str, int], found: Folds) -> dict[str, str]:
    """Files that may be the same image: of one size and, but for the folders of folds and splits,
    one path, in two folds and in two splits if there are any."""
    groups: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for name, shown in found.shown.items():
        parts = tuple(part for part in composed(shown).split("/") if part not in roles_of([part]))
        groups[(parts, sizes[name])].append(name)
    pairs: dict[str, str] = {}
    for same in groups.values():
        first = next((name for name in same if found.roles[name] in ("train", None)), None)
        if first is not None:
            others = (n for n in same if found.roles[n] != "train")
            pairs |= {n: first for n in others if found.of[n] != found.of[first]}
    return pairs


def _check_parts(source: Source, sizes: Mapping[str, int], found: Folds) -> None:
    """Raise DataError where folds without folders of splits hold the same images."""
    if found.whole:
        return
    twins = equal(source, _pairs(sizes, found))
    if len(twins) * 2 >= len(found.of) / len(found.names):
        one, other = min(twins.items())
        raise DataError(
            f"the folds {', '.join(found.names[:8])} hold the same images, such as {other} and "
            f"{one}, and no folder in them says which are for testing",
            hint="Put the images of each fold into folders train and test inside it, or send one "
            "of them.",
        )


def chosen_fold(
    source: Source, images: Collection[str], found: Folds, said: str | None, told: Told
) -> list[str]:
    """Those of the images that lie in the one fold that `said` names. Raises NeedsChoiceError where
    nothing is said, and DataError where something else is."""
    names = {composed(each): each for each in found.names}
    listed = ", ".join(found.names[:8]) + (", …" if len(names) > 8 else "")
    if said is None:
        ways = []
        for fold in found.names[:40]:
            roles = {name: found.roles[name] for name in found.only(fold)}
            ways.append(Candidate(fold, f"{counted(roles)}, in the folders of {fold}"))
        why = f", and what one trains on, another tests on: {found.same}" if found.same else ""
        asks = f"Which fold is it to be? The folders {listed} hold a split each{why}."
        raise NeedsChoiceError(source.label, (Question("split", asks, tuple(ways)),))
    if composed(said) not in names:
        raise DataError(
            f"split: {said!r} is none of the folds {listed}, which hold a split each",
            hint=f"Say one of them, such as split: {found.names[0]!r}.",
        )
    fold = names[composed(said)]
    kept = found.only(fold)
    roles = {name: found.roles[name] for name in kept}
    told.decide("split", fold, f"{counted(roles)}, one of the folds {listed}")
    others = set(found.of) - set(kept)
    told.leave_out(dict.fromkeys(set(images) - set(found.of), "it lies in no fold, as others do"))
    told.leave_out(dict.fromkeys(others, f"it is of another fold than {fold}"))
    return kept
