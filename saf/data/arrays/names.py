"""What arrays are for, told by their names: samples or labels, of which split.

`x_train`, `X_train`, `train_images`, `trainX`, `Xtr`, `train/x`, `train.npz/data` and
`train_32x32.mat/X` are all the training samples. Arrays with names that say nothing, such as
`arr_0`, are told apart by their shapes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from saf.data.arrays.stored.array import Stored
from saf.errors import DataError

SAMPLES = frozenset(
    [
        "x",
        "xs",
        "data",
        "image",
        "images",
        "img",
        "imgs",
        "picture",
        "pictures",
        "pixels",
        "feature",
        "features",
        "feat",
        "feats",
        "input",
        "inputs",
        "sample",
        "samples",
        "frame",
        "frames",
        "spikes",
        "events",
        "sequences",
        "signals",
    ]
)
LABELS = frozenset(
    ["y", "ys", "label", "labels", "lab", "labs", "target", "targets", "lbl", "lbls", "class"]
)
_NAMES = frozenset(
    [
        "classnames",
        "labelnames",
        "classes",
        "names",
        "targetnames",
        "categories",
        "listclasses",
        "labelmap",
    ]
)
_LISTS = frozenset(
    ["idx", "idxs", "ind", "inds", "index", "indices", "indexes", "ids", "mask", "list", "rows"]
)
_SPLIT = frozenset(["split", "splits", "set", "subset", "partition", "usage", "phase"])
_FOLD = frozenset(["fold", "folds", "kfold"])
_LENGTHS = frozenset(["lengths", "length", "lens", "len", "seqlen", "seqlens"])
_SPLITS = {
    "train": frozenset(["train", "training", "tr", "trn"]),
    "test": frozenset(["test", "testing", "te", "tst", "t10k", "eval", "evaluation"]),
    "val": frozenset(["val", "valid", "validation", "va", "vl", "dev"]),
}
_GLUED = re.compile(
    r"(x|y|data|images?|labels?|targets?|features?)(train|tr|test|te|val|valid)"
    r"|(train|training|test|testing|val|valid|tr|te)(x|y|data|images?|labels?|targets?|features?)"
)
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|t10k|[A-Z]?[a-z]+|[A-Z]+|\d+")
_SUFFIX = re.compile(r"\.(npy|npz|mat|h5|hdf5|hdf|gz|csv|tsv|txt|data)(?=/|$)", re.IGNORECASE)
ALL = "all"
"""The split of arrays that name none."""
_HINT = (
    "Name the arrays x_train, y_train, x_test, y_test (and x_val, y_val); leave out what is not "
    "for training."
)


@dataclass
class Roles:
    """Which array is what: samples and labels by split ("train", "test", "val" or "all")."""

    samples: dict[str, Stored] = field(default_factory=dict)
    labels: dict[str, Stored] = field(default_factory=dict)
    class_names: Stored | None = None
    lists: dict[str, Stored] = field(default_factory=dict)
    """Where samples are of no split: numbers of those in a split, or a truth value for each."""
    split: Stored | None = None
    """Where samples are of no split: the name of it, or the number of a fold, for each."""
    lengths: dict[str, Stored] = field(default_factory=dict)
    """Of samples by split: how many of their time steps are their own."""
    left: list[str] = field(default_factory=list)
    """Names of arrays that are of no use."""
    by_shape: bool = False
    """Whether the names said nothing and shapes decided."""


@dataclass(frozen=True)
class _Reading:
    split: str
    kind: str  # "samples", "labels", "names", "lengths" or ""
    unknown: int  # words that say nothing


def says_what_it_is(name: str) -> bool:
    """Whether a name says that it is samples or labels."""
    return _read(name).kind in ("samples", "labels")


def is_labels(name: str) -> bool:
    """Whether a name says that it is labels."""
    return _read(name).kind == "labels"


def check_filled(name: str, shape: Sequence[int]) -> None:
    """DataError where an array without values is called as samples or labels of a split are."""
    if not all(shape) and says_what_it_is(name):
        raise DataError(
            f"{name} has the shape {tuple(shape)}: it is empty",
            hint="Write its values, or leave the array out: without test samples a fifth of each "
            "class is held out.",
        )


def split_of(name: str) -> str:
    """The split that a name tells: "train", "test", "val" or "all"."""
    return _read(name).split


def names_a_split(name: str) -> bool:
    """Whether a name says of which split it is."""
    return _read(name).split != ALL


def roles_of(arrays: Sequence[Stored], label: str, labels_from: str | None = None) -> Roles:
    """What each array is for. Raises DataError where two could be the same, or labels lack."""
    if not arrays:
        raise DataError(
            f"{label} holds no arrays",
            hint=f"Save the fields of structures as arrays of their own. {_HINT}",
        )
    if labels_from is not None:
        arrays = _without_other_labels(arrays, label, labels_from)
    readings = {array.name: _read(array.name) for array in arrays}
    found = Roles()
    by_role: dict[tuple[str, str], list[Stored]] = {}
    for array in arrays:
        reading = readings[array.name]
        if reading.kind == "names":
            if found.class_names is None and len(array.shape) in (1, 2):
                found.class_names = array
        elif reading.kind == "lengths":
            if array.shape and _is_labels(array) and array.dtype.kind in "iuf":
                found.lengths.setdefault(reading.split, array)
        elif reading.kind:
            by_role.setdefault((reading.kind, reading.split), []).append(array)
        elif array.dtype.kind in "biuf":
            by_role.setdefault(("", reading.split), []).append(array)
    kinds = {kind for kind, _ in by_role}
    if not {"samples", "labels"} <= kinds:
        _by_shape(by_role, label)
        found.by_shape = True
    for (kind, split), several in by_role.items():
        if not kind:
            continue
        if kind == "samples":
            several = [a for a in several if a.dtype.kind in "biuf"] or several
        best = min(readings[array.name].unknown for array in several)
        chosen = [array for array in several if readings[array.name].unknown == best]
        if kind == "samples":  # "data" are "images" in rows
            most = max(len(array.shape) for array in chosen)
            chosen = [array for array in chosen if len(array.shape) == most]
        if len(chosen) > 1:
            remedy = f"Say labels_from = {chosen[0].name!r}, or keep one of them."
            raise DataError(
                f"{label} holds {' and '.join(array.name for array in chosen[:4])}: which of them "
                f"are the {kind}{'' if split == ALL else f' for {split}'}?",
                hint=remedy
                if kind == "labels"
                else f"Keep one of them; or where each is a "
                f"sample, or holds those of a class, put all into one array x, and y beside it. "
                f"{_HINT}",
            )
        (found.samples if kind == "samples" else found.labels)[split] = chosen[0]
    _complete(found, label)
    if set(found.samples) == {ALL}:
        for array in arrays:
            reading = readings[array.name]
            if not reading.kind and reading.split != ALL and _is_list(array):
                found.lists.setdefault(reading.split, array)
        found.split = _split_of_each(arrays, found.samples[ALL], found.labels[ALL])
    used = {a.name for a in (*found.samples.values(), *found.labels.values())}
    found.lengths = {s: array for s, array in found.lengths.items() if s in found.samples}
    used |= {array.name for array in (*found.lists.values(), *found.lengths.values())}
    if found.split is not None and not found.lists:
        used.add(found.split.name)
    if found.class_names is not None:
        used.add(found.class_names.name)
    found.left = [array.name for array in arrays if array.name not in used]
    return found


def _read(name: str) -> _Reading:
    """Words nearer to the end of the name decide: "images/labels" are labels."""
    name = _SUFFIX.sub("", name)
    base = re.sub(r"[^a-z]", "", name.rsplit("/", 1)[-1].lower())
    split, kind, unknown = ALL, "", 0
    for word in _words(name):
        own = next((each for each, words in _SPLITS.items() if word in words), "")
        if own:
            split = own
        elif word in SAMPLES:
            kind = "samples"
        elif word in LABELS:
            kind = "labels"
        elif word != "set":
            unknown += 1
    if base in _NAMES:
        kind = "names"
    elif not _LENGTHS.isdisjoint(_words(name.rsplit("/", 1)[-1])):
        kind = "" if kind == "labels" else "lengths"
    return _Reading(split, kind, unknown)


def _words(name: str) -> list[str]:
    words: list[str] = []
    for word in _WORD.findall(re.sub(r"\d+x\d+", " ", name)):
        low = word.lower()
        glued = _GLUED.fullmatch(low)
        words += [part for part in glued.groups() if part] if glued else [low]
    return words


def _without_other_labels(
    arrays: Sequence[Stored], label: str, labels_from: str
) -> Sequence[Stored]:
    wanted = re.sub(r"\.npy$", "", labels_from)
    chosen = {a.name for a in arrays if a.name == wanted or a.name.endswith(f"/{wanted}")}
    if not chosen:
        raise DataError(
            f"{label} holds no array {labels_from!r} of labels",
            hint=f"It holds {', '.join(array.name for array in arrays[:20])}.",
        )
    splits = {_read(name).split for name in chosen}
    return [
        array
        for array in arrays
        if array.name in chosen
        or _read(array.name).kind != "labels"
        or _read(array.name).split not in splits
    ]


def _by_shape(by_role: dict[tuple[str, str], list[Stored]], label: str) -> None:
    """Name arrays whose names do not: of each split, the arrays of one value a sample are labels,
    the others samples; without splits the first ones are for training, the second ones for
    testing."""
    splits = {split for _, split in by_role}
    for split in splits:
        unnamed = sorted(by_role.pop(("", split), []), key=lambda a: _natural(a.name))
        samples = [a for a in unnamed if not _is_labels(a)]
        labels = [a for a in unnamed if _is_labels(a)]
        if ("samples", split) in by_role:
            samples = []
        if ("labels", split) in by_role:
            labels = []
        if split == ALL and len(samples) == len(labels) == 2:
            counts = [len(a.shape) and a.shape[0] for a in samples]
            if counts[0] < counts[1]:
                raise DataError(
                    f"the names of the arrays of {label} do not say what they are for; "
                    f"{samples[0].name} has {counts[0]:,} samples and {samples[1].name} "
                    f"{counts[1]:,}, and the first ones would be for training",
                    hint=_HINT,
                )
            if counts[0] != counts[1]:
                first = counts[0]
                labels.sort(key=lambda a: max(a.shape) != first)
            for part, x, y in zip(("train", "test"), samples, labels, strict=True):
                by_role[("samples", part)], by_role[("labels", part)] = [x], [y]
            continue
        if samples:
            by_role[("samples", split)] = samples
        if labels:
            by_role[("labels", split)] = labels


def _is_labels(array: Stored) -> bool:
    return len(array.shape) <= 1 or (len(array.shape) == 2 and 1 in array.shape)


def _is_list(array: Stored) -> bool:
    """Whether an array may list samples; of floats, which MATLAB has for all numbers, the name has
    to say so."""
    if len(array.shape) == 0 or not _is_labels(array):
        return False
    if array.dtype.kind == "f":
        return not _LISTS.isdisjoint(_words(array.name))
    return array.dtype.kind in "biu"


def _split_of_each(arrays: Sequence[Stored], x: Stored, y: Stored) -> Stored | None:
    """The array that is called as splits or folds are and has a value for each sample."""
    count = max(y.shape, default=0)
    for array in arrays:
        base = array.name.rsplit("/", 1)[-1]
        if array not in (x, y) and _is_labels(array) and max(array.shape, default=0) == count:
            word = "".join(_words(_SUFFIX.sub("", base)))
            if word in (_SPLIT if array.dtype.kind in "SUO" else _SPLIT | _FOLD):
                return array
    return None


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", name)]


def _complete(found: Roles, label: str) -> None:
    """Drop what cannot be meant, and refuse what lacks its other half."""
    named = [split for split in found.samples if split != ALL]
    if named and ALL in found.samples and "train" not in named:
        for part in (found.samples, found.labels, found.lengths):  # x, y and x_test, y_test
            if ALL in part:
                part["train"] = part.pop(ALL)
    elif named:
        found.samples.pop(ALL, None)
        found.labels.pop(ALL, None)
    there = ", ".join(sorted({a.name for a in (*found.samples.values(), *found.labels.values())}))
    if not found.samples:
        raise DataError(
            f"{label} holds no array that could be samples; it holds {there or 'nothing else'}",
            hint=_HINT,
        )
    if not found.labels:
        raise DataError(
            f"{label} holds samples ({there}) without labels",
            hint=f"Give a class number for each sample. {_HINT}",
        )
    for one, other, y in (
        (found.samples, found.labels, "y"),
        (found.labels, found.samples, "x"),
    ):
        for split in one:
            if split not in other:
                name = f"{y}_{split}" if split != ALL else y
                extra = " for its validation split" if split == "val" else ""
                raise DataError(
                    f"{label} lacks {name}{extra}; it holds {there}",
                    hint=f"Give samples and labels of the split, or neither: leave out "
                    f"{one[split].name}. {_HINT}",
                )
    if not {"train", ALL} & found.samples.keys():
        raise DataError(
            f"{label} holds samples for {' and '.join(found.samples)} and none for training",
            hint=_HINT,
        )
