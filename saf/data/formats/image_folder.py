"""Folders of images: `train/<class>/*.jpg|jpeg|png`, `test/<class>/…`, perhaps `val/<class>/…`.

Beside train/ and test/, the folder val/ (or valid/, validation/) is the validation split; beside
train/ alone it is the test split. Without either, 20 % of each class are held out for testing.

How images become arrays of one size is in `saf.data.images`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from saf.data.dataset import Dataset, check_class_names
from saf.data.formats.format import FORMATS, Format, Recognised
from saf.data.formats.settings import OnDamaged, Size, ValueRange, ends_of, sides_of
from saf.data.images.decode import (
    MAX_FILE,
    Background,
    is_image_name,
    is_unread_image_name,
    require_pillow,
)
from saf.data.images.stack import Rules, stacked
from saf.data.images.survey import Load
from saf.data.labels import holdout
from saf.data.sources.limits import Limits
from saf.data.sources.source import Source
from saf.errors import DataError

_VALIDATION = frozenset({"val", "valid", "validation"})
_SPLITS = frozenset({"train", "test"}) | _VALIDATION
LAYOUT = (
    "Arrange the images as train/<class>/*.png and test/<class>/*.png, or as <class>/*.png "
    "to have a fifth of each class held out for testing."
)


@FORMATS.add
class ImageFolder(Format):
    """A zip or tar of `train/<class>/*.png` (or `.jpg`, `.jpeg`), `test/<class>/…` and perhaps
    `val/<class>/…`. With `<class>/*.png` alone, or `train/` alone, a fifth
    of every class, always the same, is held out for testing."""

    label: ClassVar[str] = "an image folder"
    place: ClassVar[int] = 10
    specificity: ClassVar[int] = 20

    name: Literal["image-folder"] = "image-folder"
    size: Size = None
    value_range: ValueRange = None
    background: Background | None = None
    on_damaged: OnDamaged = None

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        if source.single:
            if source.head(source.label, 4).startswith((b"\xff\xd8\xff", b"\x89PNG")):
                raise DataError(
                    f"{source.label} is a single image", hint=f"Send an archive. {LAYOUT}"
                )
            return None
        if any(is_image_name(member.name) for member in source.members):
            return Recognised()
        for member in source.members:
            if is_unread_image_name(member.name):
                raise _unread(member.name)
        return None

    def read(self, source: Source, limits: Limits) -> Dataset:
        rules = Rules(
            size=None if self.size is None else sides_of(self.size),
            value_range=None if self.value_range is None else ends_of(self.value_range),
            background=self.background,
            on_damaged=self.on_damaged,
        )
        return _read(source, limits, rules)


@dataclass(frozen=True)
class _Plan:
    """Where each image goes: its split and row. Rows are in the order of the names."""

    class_names: tuple[str, ...]
    labels: dict[str, NDArray[np.int64]]
    places: dict[str, tuple[str, int]]


def _read(source: Source, limits: Limits, rules: Rules) -> Dataset:
    require_pillow()  # here, where its own import may warn
    plan = _plan(source)

    def read(names: Collection[str]) -> Iterator[tuple[str, Load]]:
        for content in source.contents(names):
            yield content.name, partial(content.read_whole, MAX_FILE)

    stacks = stacked(source, read, plan.places, rules, limits)
    labels = {split: each[stacks.kept[split]] for split, each in plan.labels.items()}
    return Dataset(
        x_train=stacks.x["train"],
        y_train=labels["train"],
        x_test=stacks.x["test"],
        y_test=labels["test"],
        class_names=plan.class_names,
        x_val=stacks.x.get("val"),
        y_val=labels.get("val"),
        decisions=stacks.decisions,
        skipped=stacks.skipped,
    )


def _plan(source: Source) -> _Plan:
    images: list[tuple[str, list[str]]] = []
    for member in source.members:
        if is_image_name(member.name):
            images.append((member.name, member.name.split("/")))
        elif is_unread_image_name(member.name):
            raise _unread(member.name)
    if not images:
        raise DataError(f"{source.label} holds no .jpg, .jpeg or .png file", hint=LAYOUT)
    tops = {parts[0] for _, parts in images}
    if len(tops) == 1 and not _has_splits(images) and min(len(p) for _, p in images) >= 3:
        images = [(name, parts[1:]) for name, parts in images]
    if _has_splits(images):
        return _plan_of_splits(source, images)
    return _plan_of_classes(source, images)


def _unread(name: str) -> DataError:
    return DataError(
        f"{name} is an image of a kind that is not read",
        hint="Convert all images to PNG, JPEG or WebP.",
    )


def _has_splits(images: list[tuple[str, list[str]]]) -> bool:
    return any(parts[0].lower() in _SPLITS and len(parts) >= 3 for _, parts in images)


def _plan_of_splits(source: Source, images: list[tuple[str, list[str]]]) -> _Plan:
    tops = {parts[0].lower() for _, parts in images}
    if len(tops & _VALIDATION) > 1:
        purpose = "validation" if "test" in tops else "testing"
        raise DataError(
            f"{source.label} holds {', '.join(sorted(tops))}: which of them is for {purpose}?",
            hint="Leave at most test/ and one validation folder beside train/; merge the others.",
        )
    for name, parts in images:
        if len(parts) != 3 or parts[0].lower() not in _SPLITS:
            raise DataError(
                f"{name} is not at train/<class>/, test/<class>/ or val/<class>/", hint=LAYOUT
            )
    if "train" not in tops:
        raise DataError(f"{source.label} holds no train folder", hint=LAYOUT)
    classes = tuple(sorted({parts[1] for _, parts in images if parts[0].lower() == "train"}))
    check_class_names(classes)
    if tops == {"train"}:
        return _plan_of_classes(source, [(name, parts[1:]) for name, parts in images])
    index_of = {name: index for index, name in enumerate(classes)}
    spare = "val" if "test" in tops else "test"  # what a validation folder becomes
    split_of = {top: spare if top in _VALIDATION else top for top in tops}
    labels: dict[str, list[int]] = {split: [] for split in split_of.values()}
    places: dict[str, tuple[str, int]] = {}
    for name, (top, class_name, _) in images:
        split = split_of[top.lower()]
        if class_name not in index_of:
            raise DataError(
                f"{name}: the class {class_name!r} is tested but has no training images",
                hint=f"Use the same class folders in train/ and {top}/.",
            )
        places[name] = (split, len(labels[split]))
        labels[split].append(index_of[class_name])
    arrays = {split: np.array(values, np.int64) for split, values in labels.items()}
    return _Plan(classes, arrays, places)


def _plan_of_classes(source: Source, images: list[tuple[str, list[str]]]) -> _Plan:
    for name, parts in images:
        if len(parts) != 2:
            raise DataError(f"{name} is not in a folder named after its class", hint=LAYOUT)
    classes = tuple(sorted({parts[0] for _, parts in images}))
    if len(classes) < 2:
        raise DataError(
            f"{source.label} holds images of one class only, {classes[0]!r}", hint=LAYOUT
        )
    check_class_names(classes)
    index_of = {name: index for index, name in enumerate(classes)}
    labels = np.array([index_of[parts[0]] for _, parts in images], np.int64)
    held_out = holdout(labels, ["/".join(parts) for _, parts in images], len(classes))
    places: dict[str, tuple[str, int]] = {}
    rows = {"train": 0, "test": 0}
    for (name, _), test in zip(images, held_out, strict=True):
        split = "test" if test else "train"
        places[name] = (split, rows[split])
        rows[split] += 1
    return _Plan(classes, {"train": labels[~held_out], "test": labels[held_out]}, places)
