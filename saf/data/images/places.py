"""The row of each image in the arrays of its split, once its class and split are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from saf.data.dataset import Decision, check_class_names
from saf.data.formats.spelling import Case, one_spelling
from saf.data.images.tables.class_lists import places_in
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
    label: str,
    samples: Mapping[str, Sample],
    folders: bool,
    order: Sequence[str] = (),
    case: Case | None = None,
) -> Plan:
    """The plan of samples by name. Without test and validation samples a fifth of each class is
    held out; validation samples without test samples are the test split. `folders` says whether
    the splits are from folders, `order` that of the classes if a list has them, `case` what names
    are that differ in case alone. Raises DataError where the splits do not fit together, and
    NeedsChoiceError."""
    named = Counter(c for role, c, _ in samples.values() if role in (None, "train"))
    others = {c for _, c, _ in samples.values()} - named.keys()
    if case is None and set(named) <= set(order):
        case = "keep"  # a list names them all as they are spelled
    final, told = one_spelling(label, named, sorted(others), case)
    samples = {name: (role, final[c], key) for name, (role, c, key) in samples.items()}
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
    place = places_in(order)
    listed = all(alike(name) in place for name in trained)
    classes = in_order(trained)
    if listed:
        classes = tuple(
            sorted(trained, key=lambda name: (place.get(name, place[alike(name)]), name))
        )
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
