"""The row of each image in the arrays of its split, once its class and split are known."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from saf.data.dataset import Decision, check_class_names
from saf.data.images.tree import LAYOUT, untrained
from saf.data.images.words import Role, alike, in_order
from saf.data.labels import holdout
from saf.errors import DataError

Sample = tuple[Role | None, str, str]
"""Split, class, and the text by which the image is held out or not."""


@dataclass
class Told:
    """What is told of the way in which images were read."""

    decisions: list[Decision] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    """Images that are left out, each with the reason."""

    def decide(self, setting: str, value: str, why: str) -> None:
        """Tell a decision."""
        self.decisions.append(Decision(setting, value, why))

    def leave_out(self, reasons: Mapping[str, str]) -> None:
        """Leave images out, each for a reason."""
        self.skipped |= reasons
        for reason, count in Counter(reasons.values()).items():
            if count:
                self.decide("", "left out", f"{count:,} images: {reason}")


@dataclass(frozen=True)
class Plan:
    """Where each image goes. Rows are in the order of the names."""

    class_names: tuple[str, ...]
    labels: dict[str, NDArray[np.int64]]
    places: dict[str, tuple[str, int]]
    decisions: tuple[Decision, ...] = ()
    skipped: tuple[str, ...] = ()


def assembled(
    label: str, samples: Mapping[str, Sample], folders: bool, order: Sequence[str] = ()
) -> Plan:
    """The plan of samples by name. Without test and validation samples a fifth of each class is
    held out; validation samples without test samples are the test split. `folders` says whether
    the splits are from folders, `order` that of the classes if a list has them. Raises DataError
    where the splits do not fit together."""
    samples, told = _with_one_name_a_class(samples)
    roles = {role for role, _, _ in samples.values()}
    held_out = not roles - {None, "train"}
    if not held_out and "train" not in roles:
        raise DataError(f"{label} holds no train images", hint=LAYOUT)
    trained = {c for role, c, _ in samples.values() if held_out or role == "train"}
    for name in sorted(samples):
        if samples[name][1] not in trained:
            raise untrained(name, samples[name][1])
    if len(trained) == 1:
        (only,) = trained
        raise DataError(f"{label} holds images of 1 class only, {only[:100]!r}", hint=LAYOUT)
    place = {alike(name): index for index, name in enumerate(order)}
    listed = all(alike(name) in place for name in trained)
    classes = in_order(trained)
    if listed:
        classes = tuple(sorted(trained, key=lambda name: place[alike(name)]))
    check_class_names(classes)
    if not listed and list(classes) != sorted(classes):
        why = f"all are numbers and in the order of these: {', '.join(classes[:4])}, …"
        told.append(Decision("", "order of classes", why))
    index_of = {name: index for index, name in enumerate(classes)}
    names = sorted(samples)
    labels = np.array([index_of[samples[name][1]] for name in names], np.int64)
    if held_out:
        test = holdout(labels, [samples[name][2] for name in names], len(classes))
        splits = ["test" if each else "train" for each in test]
        why = (
            f"nothing says which images are for testing: {int(test.sum()):,} of {len(test):,}, a "
            "fifth of each class"
        )
        told.append(Decision("split", "holdout", why))
    else:
        splits = [role for name in names if (role := samples[name][0]) is not None]
        assert len(splits) == len(names)  # what has no split beside others is left out before
        if "test" not in roles:
            splits = ["test" if split == "val" else split for split in splits]
            why = "the validation images are for testing, for there are no others"
            told.append(Decision("split" if folders else "", "folders" if folders else "val", why))
    if "test" not in splits:
        raise DataError(
            f"{label} has no samples to test on: every class has a single image",
            hint=f"Give each class more images. {LAYOUT}",
        )
    places: dict[str, tuple[str, int]] = {}
    rows: Counter[str] = Counter()
    for name, split in zip(names, splits, strict=True):
        places[name] = (split, rows[split])
        rows[split] += 1
    split_of = np.array(splits)
    arrays = {split: labels[split_of == split] for split in rows}
    return Plan(classes, arrays, places, tuple(told))


def _with_one_name_a_class(
    samples: Mapping[str, Sample],
) -> tuple[dict[str, Sample], list[Decision]]:
    """Samples whose classes have one name each: in one Unicode form, and in the case that the
    training samples have where another split has another."""
    told = []
    composed = {c: unicodedata.normalize("NFC", c).strip() for _, c, _ in samples.values()}
    trained = {composed[c] for role, c, _ in samples.values() if role in (None, "train")}
    by_key: dict[str, list[str]] = defaultdict(list)
    for name in trained:
        by_key[alike(name)].append(name)
    final = {}
    for raw, name in composed.items():
        same = by_key.get(alike(name), [])
        final[raw] = same[0] if name not in trained and len(same) == 1 else name
    if changed := sorted(raw for raw in final if final[raw] != raw):
        listed = ", ".join(f"{raw!a} is {final[raw]!r}" for raw in changed[:5])
        why = (
            "names of classes that differ in Unicode form, in space at their ends, or between "
            f"splits in case, are one: {listed[:500]}"
        )
        told.append(Decision("", "one name a class", why))
    if twins := [names for names in by_key.values() if len(names) > 1]:
        listed = ", ".join(" and ".join(sorted(names)) for names in sorted(twins)[:5])
        why = f"names that differ in case alone within one split are classes: {listed[:500]}"
        told.append(Decision("", "case of classes", why))
    return {name: (role, final[c], key) for name, (role, c, key) in samples.items()}, told
