"""Where recordings belong, by the folders that they lie in: split and class."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saf.data.dataset import Decision, check_class_names
from saf.data.formats.format import Candidate, NeedsChoiceError, Question
from saf.data.formats.spelling import Case, one_spelling
from saf.data.images.words import is_fold, is_part, numbered_role, role_of
from saf.data.labels import holdout
from saf.errors import DataError

_SPLIT = re.compile(
    r"(.*?)(train|training|test|testing|eval|evaluation|val|valid|validation|dev)"
    r"(?:[-_ ]?set)?(?:[-_ ]?\d+)?",
    re.I,
)
_OF = {"train": "train", "training": "train"} | dict.fromkeys(
    ("test", "testing", "eval", "evaluation"), "test"
)
LAYOUT = (
    "Arrange the recordings as train/<class>/ and test/<class>/, or as <class>/ to have a fifth of "
    "each class held out for testing."
)
NAMES, HOLDOUT = "names", "holdout"


@dataclass(frozen=True)
class Plan:
    """Where each recording goes: its split and row. Rows are in the order of the names."""

    class_names: tuple[str, ...]
    labels: dict[str, NDArray[np.int64]]
    places: dict[str, tuple[str, int]]
    decisions: tuple[Decision, ...]


def plan(
    names: Sequence[str],
    class_of: Callable[[str], str | None] | None = None,
    *,
    case: Case | None = None,
    split: str | None = None,
) -> Plan:
    """By the first folder that is called as splits are, and the last one that is not, which is the
    class (or what `class_of` says of a name); `case` is the setting `class_case`. Where
    no folder is for testing, `split` says how it is told: "names" of files, or "holdout". Raises
    DataError, and NeedsChoiceError."""
    _check_folds(names)
    _check_levels([name for name in names if class_of is None or class_of(name) is None])
    found = {name: _placed(name, class_of) for name in names}
    splits = {split for split, _ in found.values()}
    trained = Counter(label for split, label in found.values() if split in (None, "train"))
    others = {label for _, label in found.values()} - trained.keys()
    final, decisions = one_spelling("the recordings", trained, sorted(others), case)
    found = {name: (split, final[label]) for name, (split, label) in found.items()}
    if None in splits and len(splits) > 1:
        inside = next(name for name, (split, _) in found.items() if split is None)
        raise DataError(f"{inside} is in no folder of a split, and others are", hint=LAYOUT)
    chosen: dict[str, str] = {}
    if splits == {None} or splits == {"train"}:
        if _asks_names(names, split):
            chosen = _by_names(names)
            decisions.append(Decision("split", NAMES, "as the names of the files say"))
        else:
            chosen = _held_out(found)
            why = "there is no test folder: a fifth of each class is held out"
            decisions.append(Decision("split", HOLDOUT, why))
    elif split is not None:
        raise DataError(
            f"the split of recordings in folders of splits cannot be {split!r}",
            hint=f"Say nothing, and the folders tell it. {LAYOUT}",
        )
    elif "train" not in splits:
        raise DataError("there are no recordings to train on", hint=LAYOUT)
    else:
        spare = "val" if "test" in splits else "test"  # what a validation folder becomes
        chosen = {
            name: spare if split == "val" else str(split) for name, (split, _) in found.items()
        }
        if spare == "test":
            decisions.append(
                Decision("", "test", "there is no test folder: the validation folder is taken")
            )
    return planned({name: (chosen[name], label) for name, (_, label) in found.items()}, decisions)


def planned(found: Mapping[str, tuple[str, str]], decisions: Sequence[Decision] = ()) -> Plan:
    """Of split and class of each recording by its name. Raises DataError."""
    classes = tuple(
        sorted({label for split, label in found.values() if split == "train"}, key=_key)
    )
    check_class_names(classes)
    index_of = {name: index for index, name in enumerate(classes)}
    labels: dict[str, list[int]] = {"train": [], "test": []}
    places: dict[str, tuple[str, int]] = {}
    for name in sorted(found):
        split, label = found[name]
        if label not in index_of:
            raise DataError(
                f"{name}: the class {label!r} is not among the training recordings",
                hint="Use the same class folders in all splits.",
            )
        rows = labels.setdefault(split, [])
        places[name] = split, len(rows)
        rows.append(index_of[label])
    if not labels["test"]:
        raise DataError("there are no recordings to test on", hint=LAYOUT)
    arrays = {split: np.array(rows, np.int64) for split, rows in labels.items()}
    return Plan(classes, arrays, places, tuple(decisions))


def _check_folds(names: Sequence[str]) -> None:
    """Refuse folders of folds: what one trains on, another tests on."""
    folders = {part for name in names for part in name.split("/")[:-1]}
    folds = sorted(part for part in folders if is_fold(part))
    if len(folds) < 2:
        numbered = {part: found for part in folders if (found := numbered_role(part)) is not None}
        if len(set(numbered.values())) > len({role for role, _ in numbered.values()}):
            folds = sorted(numbered)
    if len(folds) > 1:
        raise DataError(
            f"the folders {', '.join(folds[:8])} are folds of a cross-validation, and nothing says "
            "which is for testing",
            hint=f"Send one fold, or put what it tests on into test/. {LAYOUT}",
        )


def _check_levels(names: Sequence[str]) -> None:
    """Refuse folders in folders of which either may be the classes, as <class>/<person>/ and
    <person>/<class>/."""
    pairs = set()
    for name in names:
        folders = [part for part in name.split("/")[:-1] if not _SPLIT.fullmatch(part)]
        if len(folders) > 1 and not is_part(folders[-2]):
            pairs.add((folders[-2], folders[-1]))
    outer, inner = sorted({one for one, _ in pairs}), sorted({other for _, other in pairs})
    if min(len(outer), len(inner)) > 1:
        raise DataError(
            f"which folders are the classes, {', '.join(outer[:3])} or, inside them, "
            f"{', '.join(inner[:3])}?",
            hint=f"Leave one level of folders, that of the classes. {LAYOUT}",
        )


def _placed(name: str, class_of: Callable[[str], str | None] | None) -> tuple[str | None, str]:
    folders = name.split("/")[:-1]
    split, at = None, None
    for index, folder in enumerate(folders):
        match = _SPLIT.fullmatch(folder)
        if match and (not match[1] or not match[1][-1].isalpha() or match[2][0].isupper()):
            split, at = _OF.get(match[2].lower(), "val"), index
            break
    label = class_of(name) if class_of is not None else None
    if label is None:
        below = folders if at is None else folders[at + 1 :] or folders[:at]
        if not below:
            raise DataError(f"{name} is not in a folder named after its class", hint=LAYOUT)
        label = below[-1]
    return split, label


def _asks_names(names: Sequence[str], split: str | None) -> bool:
    """Whether the names of files tell the split, as was said. Raises NeedsChoiceError where they
    may, and nothing was said."""
    roles = _by_names(names)
    if split is None and roles:
        counts = Counter(roles.values())
        listed = ", ".join(f"{counts[role]:,} {role}" for role in ("train", "val", "test"))
        ways = (
            Candidate(NAMES, f"{listed}, as the names of the files say"),
            Candidate(HOLDOUT, "a fifth of each class, always the same, is for testing"),
        )
        asks = "Which recordings are for testing? The names of the files say a split."
        raise NeedsChoiceError("the recordings", (Question("split", asks, ways),))
    if split not in (None, HOLDOUT) and not (split == NAMES and roles):
        ways_said = f"{HOLDOUT!r} or {NAMES!r}" if roles else f"{HOLDOUT!r}"
        raise DataError(
            f"the split of recordings cannot be {split!r}", hint=f"Say {ways_said}. {LAYOUT}"
        )
    return split == NAMES


def _by_names(names: Sequence[str]) -> dict[str, str]:
    """The split of each recording by the names of files, `train_1.aedat`; none where not all of
    them say one, or none is for testing. A validation split without a test split is that."""
    said = {name: role_of(name.rpartition("/")[2].rpartition(".")[0])[0] for name in names}
    roles = set(said.values())
    if None in roles or "train" not in roles or len(roles) < 2:
        return {}
    spare = "val" if "test" in roles else "test"
    return {name: spare if role == "val" else str(role) for name, role in said.items()}


def _held_out(found: Mapping[str, tuple[str | None, str]]) -> dict[str, str]:
    names = sorted(found)
    classes = sorted({label for _, label in found.values()})
    labels = np.array([classes.index(found[name][1]) for name in names], np.int64)
    test = holdout(labels, names, len(classes))
    return {name: "test" if out else "train" for name, out in zip(names, test, strict=True)}


def _key(name: str) -> tuple[int, int, str]:
    """Numbers by their size, before all texts."""
    return (0, int(name), name) if name.isascii() and name.isdigit() else (1, 0, name)
