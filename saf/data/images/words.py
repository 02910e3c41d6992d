"""What the names of folders and files say: a split, a part, something that is no class."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Literal

Role = Literal["train", "val", "test"]

_ROLES: dict[str, Role] = {
    **dict.fromkeys(("train", "training", "trn", "trainval", "traindev"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "devel"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation", "heldout", "holdout"), "test"),
}
_FILLERS = frozenset(
    {"set", "sets", "data", "dataset", "images", "image", "img", "imgs", "pictures", "pics"}
    | {"photos", "folder", "dir", "samples", "split", "splits", "files", "file", "list", "lists"}
    | {"labels", "label", "annotations", "the", "of", "jpg", "jpeg", "png", "ids", "names"}
)
_GLUED = re.compile(
    r"^(train|training|test|testing|val|valid|validation)(?:set|data|list|labels?|images?)$"
)
NEVER = frozenset(
    {"masks", "mask", "annotations", "annotation", "annots", "groundtruth", "segmentations"}
    | {"segmentationclass", "segmentationobject", "unlabeled", "unlabelled", "predictions"}
)
"""Names of folders, without what stands between words, that are no class beside others."""
GENERIC = (
    NEVER
    | {"images", "image", "img", "imgs", "pictures", "pics", "photos", "data", "raw", "jpg"}
    | {"jpeg", "png", "tif", "jpegimages", "original", "originals", "labels", "label", "gt"}
    | {"seg", "segmentation", "segmented", "bboxes", "boxes", "pred", "predict", "submission"}
    | {"submissions", "dataset", "all"}
)
"""Names of folders that are no class even if all beside them are named so."""
MASKS = NEVER | {"labels", "label", "gt", "seg", "segmentation", "segmented"}
"""Names of folders that hold an image for each image beside them, saying what is where on it."""
_NUMBERED = GENERIC | _FILLERS - {"label", "labels"}
_PARTS = frozenset(
    {"part", "parts", "batch", "chunk", "shard", "fold", "subset", "volume", "zip", "archive"}
)
_FOLDS = frozenset({"fold", "folds", "kfold", "cv", "cvfold", "split", "splits", "xval"})
NO_CLASSES = frozenset({"background_google"})
"""Folders of published sets that are no class although they lie beside classes."""
_MASK = re.compile(r"^(.*)[-_ ](?:mask|segmentation)(?:[-_ ]?\d+)?$", re.IGNORECASE)


def tokens(name: str) -> list[str]:
    """The words and numbers in a name, in lower case: "ibmGestureTrain_2" has four."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", composed(name))
    return re.findall(r"[^\W\d_]+|\d+", apart.lower())


def role_of(name: str) -> tuple[Role | None, tuple[str, ...]]:
    """The split that a name says, if it says one, and what else it says: the words that are neither
    numbers nor fillers such as "images"."""
    found: list[Role] = []
    rest = []
    for token in tokens(name):
        glued = _GLUED.match(token)
        if (role := _ROLES.get(glued[1] if glued else token)) is not None:
            found.append(role)
        elif token not in _FILLERS and not token.isdigit():
            rest.append(token)
    return (found[0] if len(set(found)) == 1 else None), tuple(rest)


def roles_of(names: Collection[str]) -> dict[str, Role]:
    """Which of the folders that lie beside one another are splits: those that say nothing else, or
    of which two say the same else, as `seg_train` and `seg_test` do."""
    groups: dict[tuple[str, ...], dict[str, Role]] = defaultdict(dict)
    for name in names:
        role, rest = role_of(name)
        if role is not None:
            groups[rest][name] = role
    found: dict[str, Role] = {}
    for rest, group in groups.items():
        if not rest or len(set(group.values())) > 1:
            found |= group
    return found


def plain_role(name: str) -> Role | None:
    """The split that a folder says if it says nothing else."""
    role, rest = role_of(name)
    return role if not rest else None


def numbered_role(name: str) -> tuple[Role, int] | None:
    """The split and the number of a folder that says no more: "train_1", "test set 2"."""
    numbers = [int(token) for token in tokens(name) if token.isdigit()]
    role = plain_role(name)
    return None if role is None or len(numbers) != 1 else (role, numbers[0])


def joined(name: str) -> str:
    """The words of a name without what stands between them, for `GENERIC` and its like."""
    return "".join(token for token in tokens(name) if not token.isdigit())


def is_part(name: str) -> bool:
    """Whether a folder is named as a part of many: "images_part_1", "batch 2", "images003"."""
    words = tokens(name)
    if not any(word.isdigit() for word in words):
        return False
    letters = [word for word in words if not word.isdigit()]
    return bool(letters) and (
        bool(set(letters) & _PARTS) or all(word in _NUMBERED for word in letters)
    )


def is_fold(name: str) -> bool:
    """Whether a folder is named as a part of a cross-validation: "fold_1", "split0", "cv3"."""
    words = tokens(name)
    numbers = [word for word in words if word.isdigit()]
    return bool(numbers) and len(words) == len(numbers) + 1 and bool(set(words) & _FOLDS)


def is_no_class(name: str) -> bool:
    """Whether a folder is named as none that is a class."""
    return joined(name) in GENERIC or is_part(name) or plain_role(name) is not None


def masked(stem: str) -> str:
    """The stem of the image that a mask is for, "" if the name says nothing of a mask."""
    match = _MASK.match(stem)
    return match[1] if match else ""


def composed(name: str) -> str:
    """A name in the one Unicode form in which names are compared; macOS writes another."""
    return unicodedata.normalize("NFC", name)


def alike(name: str) -> str:
    """What names have in common that differ in Unicode form, case or space at their ends alone."""
    return composed(name).strip().casefold()


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Class names in order: as numbers where all are whole numbers, else as texts."""
    listed = list(names)
    if all(re.fullmatch(r"-?\d{1,15}", name) for name in listed):
        return tuple(sorted(listed, key=lambda name: (int(name), name)))
    return tuple(sorted(listed))
